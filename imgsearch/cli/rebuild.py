"""``imgsearch rebuild``."""

from __future__ import annotations

from time import perf_counter

from imgsearch.cli.opening import open_instance, warn_of_shared_storage
from imgsearch.cli.options import FormatOption, InstanceOption, LockTimeout, LogFile
from imgsearch.cli.output import Format, console, print_document, print_line, resolve_format

__all__ = ["rebuild"]


def rebuild(
    instance: InstanceOption = None,
    lock_timeout: LockTimeout = 0.0,
    log_file: LogFile = None,  # noqa: ARG001  # for whoever reports
    output_format: FormatOption = None,
) -> None:
    """Rebuild the index from the stored features and replace the old one; searches continue meanwhile."""
    chosen = resolve_format(output_format)
    begun = perf_counter()
    with open_instance(instance) as target:
        warn_of_shared_storage(target.folder)
        generation = target.rebuild(lock_timeout=lock_timeout)
        path = target.folder / generation.file_name
    seconds = perf_counter() - begun
    if chosen is Format.TABLE:
        recall = "exact" if generation.recall is None else f"recall@10 {generation.recall:.4f}"
        console().print(
            f"Rebuilt: {generation.items} items, {generation.structure} index ({recall}), "
            f"generation {generation.number}, {seconds:.1f} s",
            markup=False,
        )
    elif chosen is Format.PATHS:
        print_line(str(path))
    else:
        print_document(
            {
                "Success": True,
                "Items": generation.items,
                "Seconds": round(seconds, 3),
                "Generation": generation.number,
                "Structure": generation.structure,
                "Recall": generation.recall,
            }
        )
