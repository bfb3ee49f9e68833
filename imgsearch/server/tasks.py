"""The operations with tasks: import from OSS (IncreaseInstance) and export of metadata (DumpMeta)."""

from __future__ import annotations

import json
import logging
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, Final

from imgsearch.errors import ImgsearchError, RemoteCode, RemoteError
from imgsearch.server.errors import RequestRefused
from imgsearch.server.fetching import DOWNLOADS, fetched
from imgsearch.server.task_store import Task, TaskKind, TaskStatus
from imgsearch.service.documents import failure_document, item_document
from imgsearch.sources.oss.address import OssAddress
from imgsearch.sources.oss.source import open_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from imgsearch.server.calls import Call
    from imgsearch.server.result_files import ResultFiles
    from imgsearch.server.served import Served
    from imgsearch.server.task_store import TaskStore
    from imgsearch.types import Outcome

__all__ = ["OssAccess", "Tasks"]

log: Final = logging.getLogger("imgsearch.server")
UNDER_WAY: Final = 16
"""Pictures of an import that wait for their commit; a request waits for no more than these."""
TIMEOUT_SECONDS: Final = 30.0
MAX_CHARS: Final = 1024
"""As long as the key of an object may be."""
MAX_PAGE: Final = 100
MAX_PAGES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class OssAccess:
    """Where imports come from; keys are those of this process (see ``imgsearch oss-import``)."""

    endpoint: str | None = None
    role_arn: str | None = None
    sts_endpoint: str | None = None


class Tasks:
    """Runs tasks, each in a thread, one of a kind per instance at a time.

    Args:
        store: remembers them.
        files: of their results.
        access: to OSS.
    """

    def __init__(self, store: TaskStore, files: ResultFiles, access: OssAccess) -> None:
        self._store = store
        self._files = files
        self._access = access
        self._ending = Event()
        self._threads: list[Thread] = []
        self._lock = Lock()

    def close(self) -> None:
        """End all tasks: what they have committed stays, and they count as failed."""
        self._ending.set()
        with self._lock:
            threads = self._threads
        for thread in threads:
            thread.join()
        self._store.close()

    # Operations

    def increase(self, served: Served, call: Call) -> dict[str, Any]:
        """IncreaseInstance: process ``increment.meta`` of a folder in a bucket."""
        bucket, path = call.required("BucketName"), call.required("Path")
        address = OssAddress.parse(f"oss://{bucket}/{path.strip('/')}")
        callback = call.text("CallbackAddress") or ""
        if max(len(path), len(callback)) > MAX_CHARS:
            raise RequestRefused(
                f"Path and CallbackAddress may have {MAX_CHARS} characters each", code="InvalidParameter"
            )
        if address.bucket != bucket:
            raise RemoteError(f"invalid bucket name {bucket[:80]!r}: it has a slash", code=RemoteCode.INVALID_BUCKET)
        task_id = self._begun(
            served,
            TaskKind.IMPORT,
            lambda number: self._import(served, address, number),
            bucket=address.bucket,
            path=path,
            callback=callback,
        )
        return {"Success": True, "Data": {"Id": str(task_id), "IncrementStatus": TaskStatus.PROCESSING}}

    def dump(self, served: Served, call: Call) -> dict[str, Any]:  # noqa: ARG002  # as all operations
        """DumpMeta: write the metadata of all items to a file."""
        task_id = self._begun(served, TaskKind.EXPORT, lambda number: self._export(served, number))
        return {"Success": True, "Data": {"Id": str(task_id), "DumpMetaStatus": TaskStatus.PROCESSING}}

    def increase_list(self, served: Served, call: Call, base: str) -> dict[str, Any]:
        """IncreaseList: the imports, the newest first."""
        found, paging = self._page(
            TaskKind.IMPORT, served, call, bucket=call.text("BucketName") or None, path=call.text("Path") or None
        )
        increments = [
            {
                **_facts(task),
                "BucketName": task.bucket,
                "Path": task.path,
                "CallbackAddress": task.callback,
                "ErrorUrl": self._files.link(task.file, base),
            }
            for task in found
        ]
        return {"Data": {"Increments": {"Instance": increments}, **paging}}

    def dump_list(self, served: Served, call: Call, base: str) -> dict[str, Any]:
        """DumpMetaList: the exports, the newest first."""
        found, paging = self._page(TaskKind.EXPORT, served, call)
        exports = [{**_facts(task), "MetaUrl": self._files.link(task.file, base)} for task in found]
        return {"Data": {"DumpMetaList": exports, **paging}}

    def _page(
        self, kind: TaskKind, served: Served, call: Call, *, bucket: str | None = None, path: str | None = None
    ) -> tuple[list[Task], dict[str, int]]:
        number, size = call.integer("PageNumber"), call.integer("PageSize")
        number, size = 1 if number is None else number, 10 if size is None else size
        if not 1 <= number <= MAX_PAGES or not 1 <= size <= MAX_PAGE:
            raise RequestRefused(
                f"PageNumber {number} must be 1 to {MAX_PAGES:,}, and PageSize {size} 1 to {MAX_PAGE}",
                code="InvalidParameter",
            )
        found, total = self._store.find(
            kind,
            served.name,
            task_id=call.integer("Id"),
            bucket=bucket,
            path=path,
            start=(number - 1) * size,
            num=size,
        )
        return found, {"PageNumber": number, "PageSize": size, "TotalCount": total}

    # Running

    def _begun(self, served: Served, kind: TaskKind, work: Callable[[int], str | None], **facts: str) -> int:
        with self._lock:
            if self._ending.is_set():
                raise RequestRefused("the server is ending", code="ServiceUnavailable", status=503)
            task_id = self._store.create(kind, served.name, **facts)
            if task_id is None:
                raise RequestRefused(
                    f"another {kind} of {served.name} is running", code="Console.TaskAlreadyExist", status=409
                )
            thread = Thread(target=self._run, args=(task_id, work), name=f"imgsearch-{kind}-{task_id}")
            self._threads = [one for one in self._threads if one.is_alive()] + [thread]
            thread.start()
        return task_id

    def _run(self, task_id: int, work: Callable[[int], str | None]) -> None:
        try:
            with self._files.errors():
                file = work(task_id)
            self._store.finish(task_id, TaskStatus.SUCCESS, message="success", file=file)
        except ImgsearchError as error:
            self._store.finish(task_id, TaskStatus.FAIL, code=error.code, message=error.message)
        except Exception:
            log.exception("task %d failed", task_id)
            self._store.finish(
                task_id, TaskStatus.FAIL, code="InternalError", message="this is a bug: the server's log has the trace"
            )

    def _export(self, served: Served, task_id: int) -> str:
        """Write all items; the name of the file."""
        name, file = self._files.create(f"meta-{task_id}")
        with file:
            for item in served.instance.items():
                self._check_going_on()
                file.write(_line(item_document(item, located=False)))
        return name

    def _import(self, served: Served, address: OssAddress, task_id: int) -> str | None:
        """Carry out a manifest; the name of the file with what failed, if anything did."""
        with ExitStack() as stack:
            folder = open_folder(
                address,
                stack,
                region=served.instance.region_id,
                endpoint=self._access.endpoint,
                role_arn=self._access.role_arn,
                sts_endpoint=self._access.sts_endpoint,
                downloads=DOWNLOADS,
                timeout=TIMEOUT_SECONDS,
            )
            folder.check()
            name: str | None = None
            operations = fetched(folder.operations(served.instance.has_item), served.instance)
            for outcome in self._outcomes(served, operations):
                if outcome.error is not None:
                    if name is None:
                        name, file = self._files.create(f"errors-{task_id}")
                        stack.enter_context(file)
                    file.write(_line(failure_document(outcome, outcome.error)))
        return name

    def _outcomes(self, served: Served, operations: Iterator[Any]) -> Iterator[Outcome]:
        """Submit operations to the instance's writer, so that requests get their turn between them."""
        waiting: deque[Future[Outcome]] = deque()
        try:
            for operation in operations:
                self._check_going_on()
                waiting.append(served.writer.submit(operation))
                if len(waiting) > UNDER_WAY:
                    yield waiting.popleft().result()
            while waiting:
                self._check_going_on()
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # those that have not begun are left to the next import
                future.cancel()

    def _check_going_on(self) -> None:
        if self._ending.is_set():
            raise RequestRefused(
                "the server is ending; submit the task again: it goes on from where it was", code="InternalError"
            )


def _facts(task: Task) -> dict[str, Any]:
    return {
        "Id": task.id,
        "Status": task.status,
        "Code": task.code,
        "Msg": task.message,
        "UtcCreate": str(task.created),
        "UtcModified": task.modified,
    }


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"
