"""Examples of each command, for ``--help`` and the manual page."""

from __future__ import annotations

from typing import Final

__all__ = ["EXAMPLES"]

EXAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "init": (
        "imgsearch init -i shop --kind product",
        "imgsearch init --prepare",
    ),
    "add": (
        "imgsearch add -i shop pictures --product-from parent",
        "find pictures -name '*.jpg' -print0 | imgsearch add -i shop - -0 --kind generic",
        "imgsearch add -i shop --manifest feed.tsv --report failed.jsonl",
    ),
    "sync": (
        "imgsearch sync -i shop /srv/pictures --product-from parent --dry-run",
        "imgsearch sync -i shop /srv/pictures --product-from parent --max-delete 10% --quiet",
    ),
    "search": (
        "imgsearch search -i shop photo.jpg -n 5",
        "imgsearch search -i shop photo.jpg --filter 'int_attr<5000 AND str_attr=\"red\"' --distinct-product",
        "imgsearch search -i shop front.jpg back.jpg --combine --html sheet.html",
        "curl -s https://example.com/photo.jpg | imgsearch search -i shop - --format json",
    ),
    "compare": ("imgsearch compare a.jpg b.jpg",),
    "list": (
        "imgsearch list -i shop --category Bag -n 20",
        "imgsearch list -i shop --filter 'int_attr>=100' --format jsonl",
    ),
    "show": ("imgsearch show -i shop mug-red",),
    "update": (
        "imgsearch update -i shop mug-red --int-attr 4900 --unset str-attr2",
        "imgsearch update -i shop --filter 'str_attr=\"old\"' --str-attr new",
    ),
    "delete": (
        "imgsearch delete -i shop mug-red",
        "imgsearch delete -i shop --file pictures/mug-red/front.jpg",
        "cut -f1 sold.tsv | imgsearch delete -i shop -",
    ),
    "duplicates": (
        "imgsearch duplicates -i photos --html copies.html",
        "imgsearch duplicates -i photos --format paths -0 | xargs -0 -r mv -t copies",
    ),
    "rebuild": ("imgsearch rebuild -i shop",),
    "index": ("imgsearch index -i shop", "imgsearch index -i shop --every 5"),
    "tune": ("imgsearch tune -i shop", "imgsearch tune -i shop --reset"),
    "info": ("imgsearch info -i shop",),
    "models": ("imgsearch models",),
    "check": ("imgsearch check -i shop --read-data", "imgsearch check -i shop --repair"),
    "export": ("imgsearch export -i shop backup",),
    "import": ("imgsearch import -i new backup",),
    "oss-import": (
        "imgsearch oss-import oss://my-catalogue/pictures --explain-policy",
        "imgsearch oss-import -i shop oss://my-catalogue/pictures --rebuild --quiet",
    ),
    "mcp": (
        "imgsearch mcp -i shop --pictures /srv/pictures",
        "imgsearch mcp -i shop -i photos --pictures /srv/pictures --thumbnails --write",
    ),
    "eval": ("imgsearch eval pictures", "imgsearch eval -i shop labelled --html misses.html"),
    "serve": (
        "imgsearch serve --new-key shop-web >> keys.toml",
        "imgsearch serve shop=/srv/shop --keys keys.toml --ui --pictures /srv/pictures",
        "imgsearch serve --root /srv/instances --keys keys.toml --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem",
    ),
    "config": ("imgsearch config",),
    "schema": ("imgsearch schema search > search.schema.json",),
    "completion": ("source <(imgsearch completion bash)",),
    "man": ("imgsearch man | man -l -",),
}
