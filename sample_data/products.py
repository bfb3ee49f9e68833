"""The sample catalogue: which products there are, what they cost and how each picture of them is taken.

Shapes are macros in ``scenes/*.inc``. In ``Product.model`` (a call of such a macro) and in ``STAGES`` a colour is
written ``#rrggbb``; :mod:`render` turns it into POV-Ray's linear ``rgb <...>``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Category ids of the product search service.
TOPS, BAG, SHOES, ACCESSORIES, SNACK, MAKEUP, BOTTLE, FURNITURE, TOY, DIGITAL = 0, 3, 4, 5, 6, 7, 8, 9, 20, 22
OTHER: Final = 88888888

LANDSCAPE: Final = (640, 480)
PORTRAIT: Final = (480, 640)
SQUARE: Final = (560, 560)

STAND: Final = (0, 0, 0)
LYING: Final = (90, 0, 0)  # on its back, front up

STAGES: Final[dict[str, str]] = {
    "white": "Stage_Paper(#f4f4f2)",
    "grey": "Stage_Paper(#b9bcc0)",
    "charcoal": "Stage_Paper(#4a4d52)",
    "peach": "Stage_Paper(#f2c4a4)",
    "sky": "Stage_Paper(#a9cbe6)",
    "mint": "Stage_Paper(#b5dcc6)",
    "butter": "Stage_Paper(#f0dc96)",
    "rose": "Stage_Paper(#e3b3bd)",
    "oak": "Stage_Wood(#c99a62, #8a5a2e, #d9d4c8)",
    "walnut": "Stage_Wood(#8a5d3b, #4a2c1a, #a9b3b0)",
    "tile": "Stage_Tile(#d8d5cc, #9fb0b5, #e6dfd0)",
    "terracotta": "Stage_Tile(#c98a66, #b8744f, #efe6d6)",
    "linen": "Stage_Fabric(#d8ccb4)",
    "denim": "Stage_Fabric(#5f7ba3)",
    "stone": "Stage_Stone(#dcdcda, #8d8f92, #c9d2d8)",
}


@dataclass(frozen=True)
class Shot:
    """One picture: ``turn`` spins the product, ``tilt`` raises the camera (degrees), ``fill`` is its share of it."""

    view: str
    stage: str
    turn: float
    tilt: float
    light: str = "Soft"  # Light_<name> in scenes/common.inc
    size: tuple[int, int] = LANDSCAPE
    fill: float = 0.84
    pose: tuple[float, float, float] = STAND
    suffix: str = ".jpg"


@dataclass(frozen=True)
class Product:
    """A product, its catalogue entry and its pictures."""

    id: str
    title: str
    category: int
    cents: int
    colour: str
    material: str
    shape: str  # scenes/<shape>.inc
    model: str  # macro call, see above
    catalogue: tuple[Shot, ...]
    query: Shot


# fmt: off
PRODUCTS: Final[tuple[Product, ...]] = (
    # ---- kitchen ---------------------------------------------------------------------------------------------------
    Product(
        "mug-red", "Red mug", OTHER, 790, "red", "ceramic", "tableware", "Mug(#b3201c, no, #ffffff)",
        (Shot("front", "white", -25, 14), Shot("top", "oak", 30, 48, size=SQUARE)),
        Shot("query", "tile", 150, 28, "Warm"),
    ),
    Product(
        "mug-blue-striped", "Blue striped mug", OTHER, 890, "blue", "ceramic", "tableware",
        "Mug(#eeeeea, yes, #2450a0)",
        (
            Shot("front", "butter", -20, 12),
            Shot("three-quarter", "walnut", 40, 30, "Warm", suffix=".png", size=(400, 340)),
        ),
        Shot("query", "linen", -150, 24, "Cool", size=SQUARE),
    ),
    Product(
        "teapot-white", "White teapot with blue bands", OTHER, 3490, "white", "porcelain", "tableware",
        "Teapot(#f1f0ea, #24479a)",
        (Shot("side", "sky", 0, 12, fill=0.92), Shot("three-quarter", "walnut", 40, 32, "Cool", fill=1.05)),
        Shot("query", "stone", 205, 22, "Warm", fill=1.0),
    ),
    # ---- drinks ----------------------------------------------------------------------------------------------------
    Product(
        "bottle-green", "Green glass bottle", BOTTLE, 1250, "green", "glass", "drinks",
        'Bottle(#62c070, #efe8d2, #1f5a34, "VERDE")',
        (Shot("front", "white", 0, 6, size=PORTRAIT), Shot("three-quarter", "oak", 25, 24, "Warm", size=PORTRAIT)),
        Shot("query", "grey", -30, 14, "Hard", size=SQUARE, fill=0.9),
    ),
    Product(
        "bottle-amber", "Amber glass bottle", BOTTLE, 1150, "amber", "glass", "drinks",
        'Bottle(#eda04a, #f3f0e6, #7a2414, "ROSSO")',
        (Shot("front", "grey", 0, 6, size=PORTRAIT), Shot("lying", "linen", 65, 42, "Warm", pose=LYING)),
        Shot("query", "tile", 25, 20, "Cool", size=PORTRAIT),
    ),
    Product(
        "juice-carton", "Orange juice carton", BOTTLE, 249, "orange", "cardboard", "drinks",
        'Carton(#f6f2e6, #f08a12, #2d8a3c, "SOLEA")',
        (
            Shot("front", "white", 0, 8, size=PORTRAIT),
            Shot("side", "mint", 62, 14, size=PORTRAIT),
        ),
        Shot("query", "oak", 28, 16, "Hard", size=PORTRAIT),
    ),
    # ---- snacks ----------------------------------------------------------------------------------------------------
    Product(
        "snack-box", "Box of crackers", SNACK, 329, "purple", "cardboard", "snacks",
        'Snack_Box(#6a2a86, #f2b21c, "CRUNCHO")',
        (Shot("front", "white", 0, 8, size=PORTRAIT), Shot("three-quarter", "tile", 35, 20, size=PORTRAIT)),
        Shot("query", "walnut", -28, 14, "Warm", size=SQUARE, fill=0.9),
    ),
    Product(
        "crisps-tube", "Tube of crisps", SNACK, 279, "red", "cardboard", "snacks",
        'Crisps_Tube(#c4261c, #e8b51e, "RIZZI")',
        (Shot("front", "butter", 0, 8, size=PORTRAIT), Shot("three-quarter", "terracotta", -20, 30, size=PORTRAIT)),
        Shot("query", "sky", 22, 16, "Hard", size=PORTRAIT),
    ),
    Product(
        "crisps-tube-green", "Tube of crisps, sour cream", SNACK, 279, "green", "cardboard", "snacks",
        'Crisps_Tube(#2f7d3a, #e9e2c4, "RIZZI")',
        (Shot("front", "peach", 0, 8, size=PORTRAIT), Shot("lying", "oak", 65, 45, "Warm", pose=LYING)),
        Shot("query", "grey", -18, 22, "Cool", size=PORTRAIT),
    ),
    # ---- bags ------------------------------------------------------------------------------------------------------
    Product(
        "handbag-tan", "Tan handbag", BAG, 12900, "tan", "leather", "bags", "Handbag(#b9783f)",
        (
            Shot("front", "white", 0, 8, size=SQUARE),
            Shot("three-quarter", "rose", 38, 22, "Cool"),
        ),
        Shot("query", "tile", -32, 18, "Warm", size=SQUARE),
    ),
    Product(
        "handbag-plum", "Plum handbag", BAG, 12900, "plum", "leather", "bags", "Handbag(#7a2848)",
        (Shot("front", "grey", 0, 8, size=SQUARE), Shot("three-quarter", "oak", -35, 24, "Warm", size=SQUARE)),
        Shot("query", "linen", 30, 16, "Cool", size=SQUARE),
    ),
    Product(
        "backpack-navy", "Navy backpack", BAG, 6900, "navy", "canvas", "bags", "Backpack(#2c4370, #d07a35)",
        (
            Shot("front", "white", 0, 8, size=PORTRAIT),
            Shot("side", "peach", 60, 12, size=PORTRAIT),
            Shot("three-quarter", "terracotta", -35, 22, "Warm", size=SQUARE),
        ),
        Shot("query", "oak", 28, 20, "Hard", size=SQUARE),
    ),
    # ---- shoes -----------------------------------------------------------------------------------------------------
    Product(
        "sneaker-white", "White sneaker", SHOES, 7990, "white", "leather", "shoes", "Sneaker(#ecebe6, #1f7a5a)",
        (Shot("side", "sky", 0, 8), Shot("three-quarter", "oak", 42, 26), Shot("top", "charcoal", 20, 58, size=SQUARE)),
        Shot("query", "terracotta", -28, 20, "Warm"),
    ),
    Product(
        "sneaker-red", "Red sneaker", SHOES, 7990, "red", "leather", "shoes", "Sneaker(#b8231f, #f0efe9)",
        (Shot("side", "white", 0, 8), Shot("three-quarter", "linen", 40, 28, "Cool")),
        Shot("query", "oak", -30, 18, "Hard"),
    ),
    Product(
        "rain-boot-yellow", "Yellow rain boot", SHOES, 4500, "yellow", "rubber", "shoes", "Rain_Boot(#eab308)",
        (Shot("side", "grey", 0, 8, size=SQUARE), Shot("three-quarter", "tile", 45, 22, size=PORTRAIT)),
        Shot("query", "mint", -35, 16, "Hard", size=SQUARE),
    ),
    # ---- accessories -----------------------------------------------------------------------------------------------
    Product(
        "sunglasses", "Black sunglasses", ACCESSORIES, 5900, "black", "acetate", "accessories",
        "Sunglasses(#1c1a1a, #4a3a2c)",
        (Shot("front", "white", 0, 10, fill=0.8), Shot("three-quarter", "butter", 35, 28, "Hard")),
        Shot("query", "oak", -30, 22, "Warm"),
    ),
    Product(
        "watch-steel", "Steel wrist watch", ACCESSORIES, 18900, "silver", "steel", "accessories",
        "Watch(#c9ccd0, #1d3a63)",
        (Shot("front", "white", 0, 10, size=SQUARE, fill=1.0), Shot("three-quarter", "walnut", 38, 24, "Warm", fill=1.15)),
        Shot("query", "stone", -30, 18, "Cool", size=SQUARE, fill=1.05),
    ),
    Product(
        "hat-straw", "Straw hat", ACCESSORIES, 2990, "beige", "straw", "accessories", "Hat(#e2c07c, #26365e)",
        (Shot("front", "sky", 30, 16), Shot("top", "white", 100, 52, size=SQUARE)),
        Shot("query", "terracotta", 60, 30, "Hard"),
    ),
    # ---- make-up ---------------------------------------------------------------------------------------------------
    Product(
        "perfume", "Eau de parfum", MAKEUP, 6400, "pink", "glass", "makeup", "Perfume(#f0a0a8)",
        (Shot("front", "white", 0, 8, size=PORTRAIT), Shot("three-quarter", "stone", 32, 20)),
        Shot("query", "rose", -28, 16, "Cool", size=SQUARE),
    ),
    Product(
        "lipstick-red", "Red lipstick", MAKEUP, 1890, "red", "wax", "makeup", "Lipstick(#b0121f, #1a1a1c)",
        (Shot("front", "white", 0, 14), Shot("three-quarter", "rose", 35, 30, "Warm", size=SQUARE)),
        Shot("query", "stone", -25, 22, "Hard"),
    ),
    Product(
        "lipstick-coral", "Coral lipstick", MAKEUP, 1890, "coral", "wax", "makeup", "Lipstick(#f0684c, #f0ece4)",
        (Shot("front", "mint", 0, 14), Shot("top", "charcoal", 20, 48)),
        Shot("query", "linen", -30, 24, "Warm", size=SQUARE),
    ),
    # ---- furniture -------------------------------------------------------------------------------------------------
    Product(
        "chair-oak", "Oak chair", FURNITURE, 11900, "oak", "wood", "furniture", "Chair(#cf9f66, #a06a38)",
        (
            Shot("front", "white", 15, 10, size=PORTRAIT),
            Shot("side", "tile", 80, 12, size=PORTRAIT),
            Shot("three-quarter", "sky", 40, 20, "Hard", size=SQUARE, suffix=".webp"),
        ),
        Shot("query", "charcoal", -35, 18, "Warm", size=PORTRAIT),
    ),
    Product(
        "armchair-teal", "Teal armchair", FURNITURE, 34900, "teal", "fabric", "furniture", "Armchair(#1f7a7c)",
        (Shot("front", "white", 0, 12), Shot("three-quarter", "oak", 36, 18)),
        Shot("query", "tile", -32, 22, "Warm"),
    ),
    Product(
        "armchair-mustard", "Mustard armchair", FURNITURE, 34900, "mustard", "fabric", "furniture", "Armchair(#d09a1e)",
        (Shot("front", "grey", 0, 12), Shot("three-quarter", "walnut", -38, 20, "Warm", suffix=".webp")),
        Shot("query", "sky", 30, 16, "Hard"),
    ),
    Product(
        "stool-round", "Round stool", FURNITURE, 5900, "black", "wood", "furniture",
        "Stool(#2b2b2e, #d4a870, #a87442)",
        (Shot("front", "white", 20, 10, size=PORTRAIT), Shot("top", "terracotta", 30, 45, size=SQUARE)),
        Shot("query", "mint", 65, 24, "Cool", size=PORTRAIT),
    ),
    Product(
        "table-lamp-brass", "Brass table lamp", OTHER, 7400, "brass", "metal", "furniture",
        "Table_Lamp(#c79a4a, #efe3c8)",
        (Shot("front", "charcoal", 0, 6, "Warm", size=PORTRAIT), Shot("three-quarter", "oak", 0, 28, size=PORTRAIT)),
        Shot("query", "rose", 40, 14, "Hard", size=SQUARE, fill=0.9),
    ),
    # ---- toys ------------------------------------------------------------------------------------------------------
    Product(
        "toy-car-red", "Red toy car", TOY, 1990, "red", "wood", "toys", "Toy_Car(#c21f1a)",
        (Shot("side", "white", 0, 8), Shot("three-quarter", "oak", 40, 24), Shot("top", "mint", 25, 55, size=SQUARE)),
        Shot("query", "linen", -35, 20, "Warm"),
    ),
    Product(
        "toy-car-blue", "Blue toy car", TOY, 1990, "blue", "wood", "toys", "Toy_Car(#1f5fb0)",
        (
            Shot("side", "butter", 0, 8),
            Shot("three-quarter", "terracotta", 38, 26, "Warm", suffix=".png", size=(420, 330)),
        ),
        Shot("query", "grey", -35, 18, "Hard"),
    ),
    Product(
        "toy-blocks", "Wooden letter blocks", TOY, 2490, "multicolour", "wood", "toys", "Toy_Blocks()",
        (Shot("front", "white", 0, 12), Shot("three-quarter", "denim", 32, 28, "Cool")),
        Shot("query", "tile", -28, 22, "Warm"),
    ),
    Product(
        "ball", "Beach ball", TOY, 990, "multicolour", "plastic", "toys", "Beach_Ball()",
        (Shot("front", "white", 0, 12, size=SQUARE, fill=0.9), Shot("top", "oak", 40, 40, fill=1.1)),
        Shot("query", "terracotta", -20, 26, "Hard", fill=1.05),
    ),
    # ---- devices ---------------------------------------------------------------------------------------------------
    Product(
        "headphones-black", "Black headphones", DIGITAL, 14900, "black", "plastic", "devices",
        "Headphones(#232326, #3a2e28)",
        (
            Shot("front", "white", 20, 10, size=SQUARE),
            Shot("three-quarter", "peach", 50, 18),
            Shot("lying", "oak", 25, 52, "Cool", pose=LYING, fill=1.0),
        ),
        Shot("query", "sky", -32, 14, "Warm", size=SQUARE),
    ),
    Product(
        "smartphone-silver", "Silver smartphone", DIGITAL, 59900, "silver", "aluminium", "devices",
        "Smartphone(#d0d2d6)",
        (
            Shot("front", "white", 12, 8, size=PORTRAIT),
            Shot("back", "grey", 200, 10, size=PORTRAIT),
            Shot("lying", "walnut", 35, 55, "Cool", pose=LYING),
        ),
        Shot("query", "stone", -28, 42, "Warm", pose=LYING),
    ),
    Product(
        "camera-retro", "Retro camera", DIGITAL, 42900, "brown", "metal", "devices", "Retro_Camera(#6b3a1e)",
        (Shot("front", "white", 0, 8), Shot("three-quarter", "linen", 35, 24, "Warm")),
        Shot("query", "oak", -32, 18, "Cool"),
    ),
    # ---- clothes ---------------------------------------------------------------------------------------------------
    Product(
        "tshirt-blue", "Blue T-shirt with sun print", TOPS, 1990, "blue", "cotton", "clothes",
        "T_Shirt(#3d78b8, #f3e9c8)",
        (Shot("front", "white", 0, 80, pose=LYING, size=SQUARE), Shot("flat", "oak", 15, 65, "Warm", pose=LYING)),
        Shot("query", "linen", -20, 72, "Hard", pose=LYING, size=SQUARE),
    ),
)
# fmt: on
