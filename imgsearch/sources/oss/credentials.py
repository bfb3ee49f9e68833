"""Who asks: keys, tokens and roles, from where the vendor's tools look for them, and the signatures made with them.

Keys are found by the vendor's own library: environment, profile file, the command line tool's profile, ECS RAM role.
Before these come the variables that OSS tools read (``OSS_ACCESS_KEY_ID``, ``OSS_ACCESS_KEY_SECRET``,
``OSS_SESSION_TOKEN``). Nothing of them is ever stored, logged or printed.
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

from imgsearch.errors import (
    ClockSkew,
    CredentialsMissing,
    InvalidRoleArn,
    RemoteError,
    RemoteUnavailable,
    RoleNotAssumable,
    RoleNotFound,
    RoleOfOtherType,
    TokenRefused,
)
from imgsearch.sources.oss.error_mapping import unknown_key, wrong_secret

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Access"]

SESSION_NAME: Final = "imgsearch"
RENEWAL_SECONDS: Final = 5.0
"""Refusals of one token that come within so much time are answered with one renewal."""
STS_ATTEMPTS: Final = 4
STS_ENDPOINT: Final = "--sts-endpoint"
CHATTY: Final = ("oss2", "credentials", "alibabacloud-tea", "apscheduler", "urllib3", "asyncio")
"""Loggers of libraries that print to stderr by themselves, some of them whole requests with tokens in them."""

SILENT: Final = logging.CRITICAL + 1


class Access:
    """Credentials that stay fresh for as long as an import runs.

    Args:
        role_arn: of a role to assume with the keys that are found, checked before; None: these are used themselves.
        sts_endpoint: host of the token service where it is not the vendor's public one.
    """

    def __init__(self, role_arn: str | None = None, sts_endpoint: str | None = None) -> None:
        for name in CHATTY:
            logging.getLogger(name).setLevel(SILENT)
        self._role_arn = role_arn
        self._sts_endpoint = sts_endpoint
        self._lock = Lock()
        self._renewed = 0.0
        self._has_token = False
        self._provider: Any = None

    def signer(self, region: str | None) -> Any:
        """What oss2 signs requests with: V4 where the region is known, which is part of that signature, else V1."""
        return oss2.ProviderAuth(self) if region is None else oss2.ProviderAuthV4(self)

    def get_credentials(self) -> Any:
        """The credentials of this moment; oss2 asks for them at each request, from any thread.

        Raises:
            CredentialsMissing, RemoteError: there are none, or the role cannot be assumed.
        """
        with self._lock:
            if self._provider is None:
                self._provider = self._make_provider()
            provider = self._provider
        credentials = self._asked(provider.get_credentials)
        self._has_token = bool(credentials.get_security_token())
        return credentials

    def renew(self) -> bool:
        """Forget a token that was refused, so that the next request gets a new one; False if there is no other."""
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

    def _asked(self, get: Callable[[], Any]) -> Any:
        """Call a provider; faults of the way to it are tried again."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_transient),
            stop=tenacity.stop_after_attempt(STS_ATTEMPTS),
            wait=tenacity.wait_random_exponential(multiplier=0.3, max=5),
            reraise=True,
        )
        try:
            return retrying(get)
        except RetryError as error:
            raise RemoteUnavailable(
                f"the token service cannot be reached ({_reason(error)}): check the network, {STS_ENDPOINT}, proxies"
            ) from None
        except CredentialException as error:
            raise self._explained(str(error)) from None
        except ValueError:  # an entry of the profile file without what its type needs
            raise _missing() from None

    def _explained(self, text: str) -> RemoteError:
        """What the token service's refusal means; without any, no credentials were found."""
        found = re.search(r'"Code"\s*:\s*"([\w.]+)"', text)
        code = found[1] if found else ""
        role = self._role_arn or "of the profile"
        match code.partition("."):
            case ("InvalidAccessKeyId", _, _):
                return unknown_key()
            case ("SignatureDoesNotMatch" | "IncompleteSignature", _, _):
                return wrong_secret()
            case ("InvalidTimeStamp", _, _):
                return ClockSkew("this machine's clock is wrong: set it (for example with chrony) and run again")
            case ("InvalidSecurityToken", _, kind):
                code = "SecurityTokenExpired" if kind == "Expired" else "InvalidSecurityToken"
                return TokenRefused("the security token has expired or is not valid: get a new one", code=code)
            case ("EntityNotExist", _, _):
                return RoleNotFound(f"there is no role {role}: check the account id and the name in its ARN")
            case ("InvalidParameter", _, _):
                return InvalidRoleArn(f"the token service refuses the role ARN {role} as malformed")
            case ("NoPermission", _, _) if re.search(r'"PolicyType"\s*:\s*"AssumeRolePolicy"', text):
                return RoleOfOtherType(
                    f"the role {role} trusts others than you: its trust policy must name your account (RAM console, "
                    "trust policy of the role, Principal RAM); one that is made for a cloud service serves that alone"
                )
            case ("NoPermission", _, _):
                return RoleNotAssumable(
                    f"you may not assume the role {role}: your access key needs sts:AssumeRole (policy "
                    "AliyunSTSAssumeRoleAccess), and the role's trust policy must name your account"
                )
            case ("", _, _):
                return _missing()
        return RemoteUnavailable(f"the token service refuses with {code}: run again later, or look that code up")


def _from_environment(provider: Any) -> bool:
    """Whether the keys are constants of this process, so that asking again brings nothing new."""
    if isinstance(provider, DefaultCredentialsProvider):
        return bool(os.environ.get("ALIBABA_CLOUD_ACCESS_KEY_ID"))
    return isinstance(provider, StaticAKCredentialsProvider | StaticSTSCredentialsProvider)


def _oss_variables() -> Any:
    key, secret, token = (
        os.environ.get(f"OSS_{name}", "").strip() for name in ("ACCESS_KEY_ID", "ACCESS_KEY_SECRET", "SESSION_TOKEN")
    )
    if not secret:
        raise CredentialsMissing("OSS_ACCESS_KEY_ID is set, OSS_ACCESS_KEY_SECRET is not: set both")
    if token:
        return StaticSTSCredentialsProvider(access_key_id=key, access_key_secret=secret, security_token=token)
    return StaticAKCredentialsProvider(access_key_id=key, access_key_secret=secret)


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, CredentialException):
        return bool(re.search(r"http_code: 5\d\d|Throttling|ServiceUnavailable", str(error)))
    return isinstance(error, RetryError)


def _reason(error: BaseException) -> str:
    """The kind of a network error alone: its text holds the request with its signature."""
    text = str(error)
    for word in ("Name or service not known", "Connection refused", "timed out", "CERTIFICATE_VERIFY_FAILED"):
        if word in text:
            return word
    return "no connection"


def _missing() -> CredentialsMissing:
    return CredentialsMissing(
        "no credentials found: set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET (or "
        "OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET), a profile in ~/.alibabacloud/credentials.ini, or run on ECS "
        "with a RAM role"
    )
