"""Repairing an instance in PostgreSQL: derived data is made anew, items that are broken go into the quarantine.

They stand there with the time ``infinity`` until a repair has returned them as lost: one that fails after its commit,
as it indexes, leaves that to the next.

What the server itself has lost (a page that does not match its checksum) is its administrator's to restore.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgsearch.storage.integrity.problems import Damage, Loss, Repair
from imgsearch.storage.postgres.checking import check, damaged_features, damaged_items, damaged_roots
from imgsearch.storage.records import ITEM_ROW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imgsearch.storage.postgres.engine import PostgresEngine
    from imgsearch.storage.postgres.store import Store

__all__ = ["repair"]


def repair(engine: PostgresEngine, *, settings: Sequence[str]) -> Repair:
    """Repair an instance that nobody else writes to.

    Args:
        engine: open for writing, alone.
        settings: names of required settings.

    Raises:
        RemoteUnavailable, StorageFull, StorageUnwritable
    """
    before = check(engine, read_data=True, settings=settings)
    lost: list[Loss] = []
    if any(not problem.damage.is_harmless for problem in before):
        with engine.committing() as store:
            _forget_roots(store, lost)
            _quarantine(store)
            _recount(store)
        if engine.store.count() and any(one.damage.affects_index or one.damage is Damage.GENERATION for one in before):
            engine.rebuild()
        else:
            engine.drop_index_if_empty()
    after = [one for one in check(engine, read_data=True, settings=settings) if not one.damage.is_harmless]
    repaired = [one for one in before if one not in after and not one.damage.is_harmless]
    return Repair(repaired, lost + _told(engine), after)


def _forget_roots(store: Store, lost: list[Loss]) -> None:
    """Items whose folders cannot be trusted lose their places, which only previews and syncs need."""
    numbers = [number for number, _ in damaged_roots(store)]
    for number in numbers:
        ids = [row[0] for row in store.link.rows("SELECT id FROM items WHERE root_id = %s ORDER BY id", (number,))]
        whole = {row[0] for row in damaged_items(store)}
        store.forget_places([item_id for item_id in ids if item_id not in whole])
        lost.append(
            Loss(
                None, None, f"the folder of {len(ids)} pictures was corrupted: add them again to have their places back"
            )
        )
    store.link.run("UPDATE items SET root_id = NULL WHERE root_id = ANY (%s::int[])", (numbers,))
    store.link.run("DELETE FROM roots WHERE id = ANY (%s::int[])", (numbers,))


def _told(engine: PostgresEngine) -> list[Loss]:
    """What is lost, and no repair has told; from now on, it is told."""
    with engine.committing() as store:
        rows = store.link.rows(
            "UPDATE quarantine SET quarantined = now() WHERE quarantined = 'infinity' "
            "RETURNING id, product_id, pic_name, reason"
        )
    rows.sort(key=lambda row: row[0])
    return [Loss(product_id, pic_name, f"{why}: add the picture again") for _, product_id, pic_name, why in rows]


def _quarantine(store: Store) -> None:
    broken = {row[0]: "the item did not match its checksum" for row in damaged_items(store)}
    for item_id, _, _, why in damaged_features(store):
        broken.setdefault(item_id, f"its feature {why}")
    for (item_id,) in store.link.rows(
        "SELECT id FROM items WHERE NOT EXISTS (SELECT 1 FROM features "
        "WHERE features.id = items.id AND features.category_id = items.category_id)"
    ):
        broken.setdefault(item_id, "it had no feature")
    names = ", ".join((*ITEM_ROW, "seal"))
    columns = ", ".join(f"items.{name}" for name in (*ITEM_ROW, "seal"))
    for item_id, why in sorted(broken.items()):
        store.link.run(
            f"INSERT INTO quarantine ({names}, location, reason, quarantined) "
            f"SELECT {columns}, roots.path, %s, 'infinity' FROM items "
            "LEFT JOIN roots ON roots.id = items.root_id WHERE items.id = %s",
            (why, item_id),
        )
    store.link.run("DELETE FROM items WHERE id = ANY (%s::bigint[])", (list(broken),))
    store.link.run(
        "DELETE FROM features WHERE NOT EXISTS (SELECT 1 FROM items "
        "WHERE items.id = features.id AND items.category_id = features.category_id)"
    )
    if store.is_external:
        store.link.run("INSERT INTO removed (id) SELECT unnest(%s::bigint[]) ON CONFLICT DO NOTHING", (list(broken),))
        store.link.run("DELETE FROM pending WHERE NOT EXISTS (SELECT 1 FROM items WHERE items.id = pending.id)")


def _recount(store: Store) -> None:
    store.link.run("DELETE FROM counts")
    store.link.run(
        "INSERT INTO counts (category_id, slot, items) SELECT category_id, 0, count(*) FROM items GROUP BY category_id"
    )
