"""Credentials: keys, tokens and roles, from the places where the vendor's tools look, and request signing.

The vendor's library finds keys in the environment, the profile file, the CLI's profile and the ECS RAM role. The
variables of OSS tools (``OSS_ACCESS_KEY_ID``, ``OSS_ACCESS_KEY_SECRET``, ``OSS_SESSION_TOKEN``) take precedence.
Credentials are never stored, logged or printed.
"""

from __future__ import annotations

import logging
import os
import re
import time
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import oss2
import tenacity
from alibabacloud_credentials.exceptions import CredentialException
from alibabacloud_credentials.provider import (
    DefaultCredentialsProvider,
    RamRoleArnCredentialsProvider,
    StaticAKCredentialsProvider,
    StaticSTSCredentialsProvider,
)
from Tea.exceptions import RetryError

from imgsearch.errors import RemoteCode, RemoteError
from imgsearch.sources.oss.error_mapping import unknown_key, wrong_secret

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Access", "silence_libraries"]

SESSION_NAME: Final = "imgsearch"
RENEWAL_SECONDS: Final = 5.0
"""Several refusals of a token within this time cause one renewal."""
STS_ATTEMPTS: Final = 4
STS_ENDPOINT: Final = "--sts-endpoint"
CHATTY: Final = ("oss2", "credentials", "alibabacloud-tea", "apscheduler", "urllib3", "asyncio")
"""Loggers of libraries that print to stderr, some of them whole requests including tokens."""

SILENT: Final = logging.CRITICAL + 1


def silence_libraries() -> None:
    """Have those libraries print nothing; for a process of ours, as levels belong to the program."""
    for name in CHATTY:
        logging.getLogger(name).setLevel(SILENT)


class Access:
    """Credentials, renewed as long as an import runs.

    Args:
        role_arn: ARN of a role to assume with the keys, already validated; None: use the keys directly.
        sts_endpoint: host of the token service; None: the vendor's public one.
    """

    def __init__(self, role_arn: str | None = None, sts_endpoint: str | None = None) -> None:
        self._role_arn = role_arn
        self._sts_endpoint = sts_endpoint
        self._lock = Lock()
        self._renewed = 0.0
        self._has_token = False
        self._provider: Any = None

    def signer(self, region: str | None) -> Any:
        """The signer for oss2: V4 if the region, part of its signature, is known, else V1."""
        return oss2.ProviderAuth(self) if region is None else oss2.ProviderAuthV4(self)

    def get_credentials(self) -> Any:
        """The current credentials; oss2 calls this for every request, from any thread.

        Raises:
            RemoteError: there are none, or the role cannot be assumed.
        """
        with self._lock:
            if self._provider is None:
                self._provider = self._make_provider()
            provider = self._provider
        credentials = self._call(provider.get_credentials)
        self._has_token = bool(credentials.get_security_token())
        return credentials

    def renew(self) -> bool:
        """Discard a refused token, so that the next request gets a new one; False if there cannot be one."""
        with self._lock:
            if not self._has_token or (self._role_arn is None and _from_environment(self._provider)):
                return False
            if time.monotonic() - self._renewed > RENEWAL_SECONDS:
                self._renewed = time.monotonic()
                self._provider = None
        return True

    def _make_provider(self) -> Any:
        provider = _oss_variables() if os.environ.get("OSS_ACCESS_KEY_ID") else DefaultCredentialsProvider()
        if self._role_arn is None:
            return provider
        return RamRoleArnCredentialsProvider(
            credentials_provider=provider,
            role_arn=self._role_arn,
            role_session_name=SESSION_NAME,
            sts_endpoint=self._sts_endpoint,
        )

    def _call(self, get: Callable[[], Any]) -> Any:
        """Call a provider, retrying transient failures."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_transient),
            stop=tenacity.stop_after_attempt(STS_ATTEMPTS),
            wait=tenacity.wait_random_exponential(multiplier=0.3, max=5),
            reraise=True,
        )
        try:
            return retrying(get)
        except RetryError as error:
            raise RemoteError(
                f"the token service cannot be reached ({_reason(error)}): check the network, proxies and "
                f"{STS_ENDPOINT}",
                code=RemoteCode.UNAVAILABLE,
            ) from None
        except CredentialException as error:
            raise self._explained(str(error)) from None
        except ValueError:  # an incomplete entry in the profile file
            raise _missing() from None

    def _explained(self, text: str) -> RemoteError:
        """Translate a refusal of the token service; without a code, no credentials were found."""
        found = re.search(r'"Code"\s*:\s*"([\w.]+)"', text)
        code = found[1] if found else ""
        role = self._role_arn or "of the profile"
        match code.partition("."):
            case ("InvalidAccessKeyId", _, _):
                return unknown_key()
            case ("SignatureDoesNotMatch" | "IncompleteSignature", _, _):
                return wrong_secret()
            case ("InvalidTimeStamp", _, _):
                return RemoteError(
                    "this machine's clock is wrong: set it (for example with chrony) and run again",
                    code=RemoteCode.CLOCK_SKEW,
                )
            case ("InvalidSecurityToken", _, kind):
                code = "SecurityTokenExpired" if kind == "Expired" else "InvalidSecurityToken"
                return RemoteError("the security token has expired or is invalid: get a new one", code=code)
            case ("EntityNotExist", _, _):
                return RemoteError(
                    f"there is no role {role}: check the account id and the name in its ARN",
                    code=RemoteCode.ROLE_NOT_FOUND,
                )
            case ("InvalidParameter", _, _):
                return RemoteError(
                    f"the token service rejects the role ARN {role} as malformed", code=RemoteCode.INVALID_ROLE_ARN
                )
            case ("NoPermission", _, _) if re.search(r'"PolicyType"\s*:\s*"AssumeRolePolicy"', text):
                return RemoteError(
                    f"the role {role} does not trust your account: its trust policy must name it (RAM console, trust "
                    "policy of the role, Principal RAM); only a cloud service can use a role created for it",
                    code=RemoteCode.ROLE_OF_OTHER_TYPE,
                )
            case ("NoPermission", _, _):
                return RemoteError(
                    f"you may not assume the role {role}: your access key needs sts:AssumeRole (policy "
                    "AliyunSTSAssumeRoleAccess), and the role's trust policy must name your account",
                    code=RemoteCode.ROLE_NOT_ASSUMABLE,
                )
            case ("", _, _):
                return _missing()
        return RemoteError(
            f"the token service answers with {code}: run again later, or look up that code", code=RemoteCode.UNAVAILABLE
        )


def _from_environment(provider: Any) -> bool:
    """Whether the keys are constant in this process, so that asking again gives the same."""
    if isinstance(provider, DefaultCredentialsProvider):
        return bool(os.environ.get("ALIBABA_CLOUD_ACCESS_KEY_ID"))
    return isinstance(provider, StaticAKCredentialsProvider | StaticSTSCredentialsProvider)


def _oss_variables() -> Any:
    key, secret, token = (
        os.environ.get(f"OSS_{name}", "").strip() for name in ("ACCESS_KEY_ID", "ACCESS_KEY_SECRET", "SESSION_TOKEN")
    )
    if not secret:
        raise RemoteError(
            "OSS_ACCESS_KEY_ID is set, but OSS_ACCESS_KEY_SECRET is not: set both", code=RemoteCode.CREDENTIALS_MISSING
        )
    if token:
        return StaticSTSCredentialsProvider(access_key_id=key, access_key_secret=secret, security_token=token)
    return StaticAKCredentialsProvider(access_key_id=key, access_key_secret=secret)


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, CredentialException):
        return bool(re.search(r"http_code: 5\d\d|Throttling|ServiceUnavailable", str(error)))
    return isinstance(error, RetryError)


def _reason(error: BaseException) -> str:
    """Only the kind of a network error: its text contains the signed request."""
    text = str(error)
    for word in ("Name or service not known", "Connection refused", "timed out", "CERTIFICATE_VERIFY_FAILED"):
        if word in text:
            return word
    return "no connection"


def _missing() -> RemoteError:
    return RemoteError(
        "no credentials found: set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET (or "
        "OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET), a profile in ~/.alibabacloud/credentials.ini, or run on ECS "
        "with a RAM role",
        code=RemoteCode.CREDENTIALS_MISSING,
    )
