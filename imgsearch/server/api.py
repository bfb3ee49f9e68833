"""The vendor's API: a request is read, its sender checked, its operation carried out, and answered with a document.

Everything here blocks and runs in a worker thread; ``app.py`` reads the body and sends the answer.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from imgsearch.errors import ImgsearchError
from imgsearch.server import searching, writing
from imgsearch.server.calls import Call
from imgsearch.server.errors import RequestRefused, retry_after, status_of
from imgsearch.server.forms import parse_pairs, parse_upload
from imgsearch.server.served import Permitted
from imgsearch.server.signatures import Received
from imgsearch.server.uploads import Uploads, received_document
from imgsearch.service.documents import detail_document, new_request_id
from imgsearch.service.operations import FORM, OPERATIONS, ROA_PATHS, ROA_SEARCH, ROA_VERSION, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgsearch.server.authentication import Authentication
    from imgsearch.server.keys import AccessKey
    from imgsearch.server.served import Instances, Served
    from imgsearch.server.tasks import Tasks
    from imgsearch.server.throttling import Throttle

__all__ = ["Answer", "Api", "Request"]

log: Final = logging.getLogger("imgsearch.server")
UPLOAD_ACTION: Final = "AuthorizeFileUpload"
UPLOAD_VERSION: Final = "2019-12-19"
ROA_SEARCHES: Final = {"SearchByPic": "SearchImageByPic", "SearchByName": "SearchImageByName"}

_SIMPLE: Final[dict[str, Callable[[Served, Call], dict[str, Any]]]] = {
    "AddImage": writing.add,
    "UpdateImage": writing.update,
    "DeleteImage": writing.delete,
    "SearchImageByPic": searching.by_picture,
    "SearchImageByName": searching.by_name,
    "SearchImageByText": searching.by_text,
    "SearchImageByFilter": searching.by_filter,
    "CheckImageExists": searching.exists,
    "CompareSimilarByImage": searching.compare,
}


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came."""

    method: str
    path: str
    """As sent, without scheme, host and query."""
    query: bytes
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes
    secure: bool
    """It came by TLS."""

    @property
    def host(self) -> str:
        """The host with its port; the Python SDK may put a scheme before it (see ``uploads.py``)."""
        host = self.headers.get("host", "")
        return host.rpartition("://")[2].strip("/")

    @property
    def base(self) -> str:
        """The address of this server as the client knows it."""
        return f"{'https' if self.secure else 'http'}://{self.host}"


@dataclass(slots=True)
class Answer:
    """An answer, with what the log and the metrics tell of it."""

    status: int
    document: dict[str, Any] | str
    """A string is XML."""
    headers: dict[str, str] = field(default_factory=dict)
    action: str = "unknown"
    key_id: str = ""
    instance: str = ""
    code: str = ""
    request_id: str = field(default_factory=new_request_id)

    def refuse(self, error: ImgsearchError, host: str, message: str) -> None:
        """Become the service's document of an error.

        Args:
            error: its code, status and time to wait are told.
            host: of the request.
            message: for people.
        """
        self.status = status_of(error)
        self.code = error.code
        self.document = {
            "RequestId": self.request_id,
            "HostId": host,
            "Code": error.code,
            "Message": message,
            "Recommend": "",
        }
        milliseconds = retry_after(error)
        if milliseconds is not None:
            self.headers["x-acs-retry-after"] = str(milliseconds)


class Api:
    """Answers requests; thread-safe.

    Args:
        instances: in service.
        authentication: checks who sends them.
        throttle: limits how many.
        tasks: run imports and exports.
    """

    def __init__(self, instances: Instances, authentication: Authentication, throttle: Throttle, tasks: Tasks) -> None:
        self._instances = instances
        self._authentication = authentication
        self._throttle = throttle
        self._tasks = tasks
        self.uploads = Uploads()

    def answer(self, request: Request) -> Answer:
        """Answer a request; whatever goes wrong is an answer, too."""
        facts = Answer(200, {})
        try:
            self._answer(request, facts)
        except ImgsearchError as error:
            facts.refuse(error, request.host, self._without_folders(error.message))
        except Exception:
            log.exception("request %s failed", facts.request_id)
            bug = ImgsearchError("this is a bug: the server's log has the trace, under the RequestId")
            facts.refuse(bug, request.host, bug.message)
        return facts

    def _without_folders(self, message: str) -> str:
        """A message that names instances as requests do: clients need not know where they lie."""
        for served in self._instances.opened():
            message = served.without_folders(message)
        return message

    def _answer(self, request: Request, facts: Answer) -> None:
        content_type = request.headers.get("content-type", "")
        if request.method == "POST" and content_type.startswith("multipart/form-data"):
            self._receive(request, content_type, facts)
            return
        form = parse_pairs(request.body) if content_type.partition(";")[0].strip() == FORM else []
        received = Received(
            request.method, request.path, parse_pairs(request.query), request.headers, form, request.body
        )
        action, version = _action(received)
        facts.action = action if action in OPERATIONS or action == UPLOAD_ACTION else "unknown"
        key = self._authentication.check(received)
        facts.key_id = key.id
        if (action, version) == (UPLOAD_ACTION, UPLOAD_VERSION):
            plain = not request.secure and "Python/" in request.headers.get("user-agent", "")
            ticket = self.uploads.ticket(key.id, request.host, plain=plain)
            facts.document = {"RequestId": facts.request_id, **ticket}
            return
        if action not in OPERATIONS or version not in (VERSION, ROA_VERSION):
            raise RequestRefused(
                f"there is no operation {action[:60]!r} of version {version[:20]!r}",
                code="InvalidAction.NotFound",
                status=404,
            )
        self._throttle.take(key.id, action)
        call = Call(
            OPERATIONS[action],
            (pair for pair in (*received.query, *form) if pair[0] not in ("Action", "Version")),
            lambda link: self.uploads.find(link, key.id),
        )
        document = self._carried_out(key, call, request.base, facts)
        document["RequestId"] = facts.request_id
        if version == ROA_VERSION and action == "DeleteImage":
            document.pop("Data", None)
        facts.document = document

    def _receive(self, request: Request, content_type: str, facts: Answer) -> None:
        facts.action = "Upload"
        upload = parse_upload(content_type, request.body)
        name = self.uploads.receive(upload)
        facts.status = 201  # npm's form loses the field that asks for it
        facts.document = received_document(request.host, name, upload.file)

    def _carried_out(self, key: AccessKey, call: Call, base: str, facts: Answer) -> dict[str, Any]:
        """Carry out an operation that the key may.

        Raises:
            ImgsearchError
        """
        name, action = call.required("InstanceName"), call.operation.name
        served = Permitted(self._instances, key).get(name)
        facts.instance = name
        if call.operation.writes and not key.may_write:
            raise RequestRefused(f"the access key {key.id} may not write", code="NoPermission", status=403)
        if action in _SIMPLE:
            return _SIMPLE[action](served, call)
        if action == "Detail":
            qps = self._throttle.limits.search
            return detail_document(served.instance.info(), name, None if qps is None else max(1, int(qps)))
        if action == "IncreaseInstance":
            return self._tasks.increase(served, call)
        if action == "DumpMeta":
            return self._tasks.dump(served, call)
        listed = self._tasks.increase_list if action == "IncreaseList" else self._tasks.dump_list
        return listed(served, call, base)


def _action(request: Received) -> tuple[str, str]:
    """The operation and the version of the API that a request asks for.

    Raises:
        RequestRefused: none.
    """
    query = dict(request.query)
    if request.path in ROA_PATHS:
        return ROA_PATHS[request.path], ROA_VERSION
    if request.path == ROA_SEARCH:
        kind = dict(request.form).get("Type") or query.get("Type") or "SearchByPic"
        return ROA_SEARCHES.get(kind, kind), ROA_VERSION
    if request.path != "/":
        raise RequestRefused(f"there is nothing at {request.path[:80]!r}", code="InvalidAction.NotFound", status=404)
    if "Signature" in query or "x-acs-action" not in request.headers:
        # The signature of RPC covers these, and not the headers.
        action, version = query.get("Action", ""), query.get("Version", "")
    else:
        action, version = request.headers["x-acs-action"], request.headers.get("x-acs-version", "")
    if not action:
        raise RequestRefused("the request names no operation: x-acs-action is required", code="MissingAction")
    return action, version
