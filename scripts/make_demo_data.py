"""Make the demo catalogue: the items of a small shop for books, games and the outdoors, and its sales.

The data are synthetic. What is planted, so that a recommender has something to find:

* lines bought in order: series of novels, kits graded by skill, games and their expansions, method books;
* accessories after the main product, named after its line;
* a second thread: a customer returns to a line left open some purchases ago;
* tastes that drift from one world (fantasy novels) to a related one (strategy games);
* a long popularity tail;
* products in several colours with nearly the same text, and products listed twice, under two item ids with
  exactly the same text, so that semantic IDs collide;
* announced items that nobody has bought yet, and customers with one or two purchases, too few to split.

Only `random.Random.random` draws, which Python promises to keep stable: the same bytes come out everywhere.

    python scripts/make_demo_data.py [--output sidrec/demo] [--seed 0]
"""

from __future__ import annotations

import argparse
import csv
import itertools
import random
from bisect import bisect
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

NUM_USERS = 2500
NUM_SHORT_USERS = 40  # of them: one or two purchases, too few to split
MEAN_EXTRA_EVENTS = 3.6  # beyond the five that every other user has
MAX_EVENTS = 24
P_NEXT = 0.42  # go on with the line of the last purchase
P_RETURN = 0.20  # go on with a line left open earlier
P_SKIP = 0.08  # leave out a volume
P_ENTRY = 0.88  # start a line at its beginning
P_WHIM = 0.12  # buy from any world
NUM_POPULAR_LINES = 5  # per world; the lines after them fall off by LINE_DECAY each, down to LINE_FLOOR
LINE_DECAY = 0.5
LINE_FLOOR = 0.03
WORLD_DECAY = 0.95
NUM_LISTED_TWICE = 14
NUM_ANNOUNCED = 24  # never bought
NUM_SINGLE_NOVELS = 12  # per genre
FIRST_DAY = datetime(2023, 1, 2, 8, 0, 0)
ORDINALS = ("One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight")
GRADES = ("Starter", "Easy", "Intermediate", "Advanced", "Master")

# Books. Genre: publishers; adjectives; nouns; plots; series as (name, author, hero, setting, volumes).
BOOKS = {
    "Fantasy": (
        ("Lantern House", "Greywater Press"),
        "Ashen Silver Broken Hollow Crowned Winter Thorned Hidden Last Drowned",
        "Crown Raven Oath Tower Ember Throne Spell Wolf Harp Gate Blade Moon Witch Forest",
        (
            "must break an oath to wake a sleeping king",
            "carries a cursed blade across the mountains",
            "learns the name of the dragon under the hill",
            "bargains with a witch for one more winter",
            "finds the gate that the old mages sealed",
            "raises an army of ghosts and regrets it",
        ),
        (
            ("Ashfall Chronicles", "Maren Thorne", "Isolde", "the burnt city of Vael", 7),
            ("The Salt Crown", "T. J. Okafor", "Bram the ferryman", "the drowned coast", 6),
            (
                "Wardens of Hollow Wood",
                "Elin Sjöberg",
                "young warden Tove",
                "a forest that moves at night",
                6,
            ),
            ("The Clockmaker's Dragon", "Rufus Penhale", "Pip Arkwright", "a city of bronze bells", 5),
            ("Nine Winters", "Anneke de Wit", "Queen Sunniva", "the frozen marches", 8),
            ("Songs of Glass River", "Ines Carvalho", "the bard Lioran", "the river kingdoms", 5),
            ("The Beekeeper Mage", "Hollis Grange", "old Merrily Combe", "a valley of orchards", 4),
            ("Ravenmoor", "D. A. Strand", "the exile Corvin", "the moor of standing stones", 6),
        ),
    ),
    "Science Fiction": (
        ("Orbital Books", "Greywater Press"),
        "Silent Distant Second Burning Quantum Red Final Weightless Stolen Inner",
        "Orbit Signal Colony Engine Horizon Airlock Star Archive Drift Protocol Comet Reactor Sun",
        (
            "answers a signal that was sent before there were people",
            "wakes from cold sleep forty years too early",
            "hides a thinking machine from the fleet",
            "must choose which dome gets the last air",
            "steers a mining ship into forbidden space",
            "discovers who rewrote the ship's memory",
        ),
        (
            ("Perihelion", "Kazuo Brandt", "pilot Ada Renner", "a ship that skims the sun", 6),
            ("The Long Orbit", "S. L. Achebe", "engineer Joss Oyelaran", "a generation ship", 7),
            ("Saltworks of Mars", "Petra Novak", "the Dvorak family", "the brine mines of Mars", 5),
            ("Rust and Signal", "Milo Hartigan", "scrap diver Wren", "the orbital junkyards", 6),
            ("Kepler Station", "Yara Haddad", "doctor Samir Aziz", "a hospital between the stars", 5),
            ("The Quiet Machines", "Owen Feld", "auditor Thessaly", "a world run by gentle robots", 4),
            ("Tidebound", "Nia Morgan", "captain Lowri", "an ocean moon without land", 5),
        ),
    ),
    "Crime": (
        ("Blackwell & Rye", "Nightbus Editions"),
        "Cold Quiet Missing Second Borrowed Locked Late Narrow Perfect Foggy",
        "Alibi Witness Harbour Verdict Ledger Poison Letter Corpse Motive Widow Key Confession",
        (
            "reopens a drowning that everyone calls an accident",
            "has three suspects and one honest alibi",
            "receives a confession to a murder that has not happened",
            "finds a ledger hidden behind the wallpaper",
            "follows a witness who does not want to be found",
            "suspects a colleague and cannot say so",
        ),
        (
            ("Inspector Lindqvist", "Åsa Holm", "Inspector Lindqvist", "a small town in Norrland", 8),
            ("Harbour Street Mysteries", "Fiona Bell", "fishmonger Dot Kerr", "a Scottish harbour", 6),
            ("The Marsh Detective", "Gil Hathaway", "Sergeant Reed", "the Norfolk marshes", 5),
            ("Judge Alvarez Investigates", "Pilar Rojas", "Judge Alvarez", "the courts of Seville", 6),
            ("Doctor Cole Cases", "M. K. Adeyemi", "pathologist Amara Cole", "a Bristol mortuary", 5),
            ("The Night Ferry", "Jonas Weiss", "purser Greta Lund", "a ferry on the Baltic", 4),
            ("Canal House Murders", "Saskia Vermeer", "archivist Floor Bakker", "the canals of Leiden", 6),
            ("Tweed and Daughter", "Harriet Pym", "Colonel Tweed and his daughter", "an English village", 5),
        ),
    ),
    "Children's Books": (
        ("Paper Kite", "Lantern House"),
        "Brave Tiny Wobbly Secret Sleepy Giant Magic Muddy Upside-Down Lost",
        "Treasure Balloon Kitten Pancake Puddle Lighthouse Snowman Picnic Robot Birthday Umbrella",
        (
            "loses a mitten and finds a friend",
            "builds a raft out of bathtubs",
            "bakes the biggest pancake in the world",
            "is afraid of the dark until the fireflies come",
            "solves the riddle of the missing marmalade",
            "wins the race by coming last",
        ),
        (
            ("Otter and Fig", "Lucy Marlowe", "Otter, with her friend Fig,", "a sunny riverbank", 7),
            ("The Moonlight Bakery", "Hana Sato", "baker Mimi", "a bakery open only at night", 5),
            ("Pirate School", "Ned Barnacle", "new pupil Jo", "a school on a pirate ship", 6),
            ("Captain Teacup", "Bea Fairweather", "mouse captain Teacup", "a pond as wide as a sea", 5),
            ("The Tiny Museum", "Oskar Lind", "curator mouse Edda", "a museum under the floor", 4),
            ("Owl Post Academy", "Rosa Quill", "the owlet Hoot", "a school for letter carriers", 5),
        ),
    ),
}

# Kits, method books. World: category, id prefix, medium, makers; projects per grade; lines as (name, craft).
GRADED = {
    "Textile Crafts": (
        ("Craft > Textiles", "cr", "kit", ("Woolgather", "Thistle & Thread")),
        ("a plain square", "a striped scarf", "a patterned hat", "a cabled cushion", "a fitted cardigan"),
        (
            ("Fjord Yarn", "knitting"),
            ("Little Loop", "crochet"),
            ("Meadow Stitch", "embroidery"),
            ("Hearth Loom", "weaving"),
            ("Patchwork Lane", "quilting"),
            ("Indigo Vat", "dyeing"),
            ("Felt Friends", "needle felting"),
            ("Knotwork", "macrame"),
            ("Lacemaker's Window", "bobbin lace"),
        ),
    ),
    "Model Making": (
        ("Craft > Models", "cr", "model kit", ("Halfpenny Scale Works", "Tin Harbour")),
        (
            "a snap-together piece",
            "a painted piece",
            "a small diorama",
            "a lit scene",
            "a museum-grade display",
        ),
        (
            ("Harbour Boats", "wooden boat"),
            ("Branch Line", "model railway"),
            ("Silver Wings", "aircraft"),
            ("Iron Road", "steam engine"),
            ("Goblin Market", "fantasy miniature"),
            ("Old Town", "paper house"),
            ("Grand Touring", "vintage car"),
            ("Moon Lander", "spacecraft"),
            ("Dollhouse Row", "miniature room"),
        ),
    ),
    "Maker Workshop": (
        ("Craft > Workshop", "cr", "project box", ("Solder & Sons", "Oak Bench")),
        ("a first try", "a small gift", "a useful object", "a set of four", "a showpiece"),
        (
            ("Circuit Garden", "electronics"),
            ("Spoon Club", "wood carving"),
            ("Copper Leaf", "jewellery"),
            ("Wick and Wax", "candle making"),
            ("Bookbinder's Box", "bookbinding"),
            ("Clay Table", "pottery"),
            ("Leather Lane", "leatherwork"),
        ),
    ),
    "Sheet Music": (
        ("Music > Method Books", "mu", "method book", ("Allegro Editions", "Blue Stave")),
        ("open strings and first notes", "folk tunes", "duets", "jazz standards", "concert pieces"),
        (
            ("Ukulele Step by Step", "ukulele"),
            ("The Patient Pianist", "piano"),
            ("Fiddle Path", "violin"),
            ("Campfire Guitar", "guitar"),
            ("Pocket Harmonica", "harmonica"),
            ("Breath and Reed", "clarinet"),
            ("Hand Drum Hours", "percussion"),
        ),
    ),
}

# Games. World: play, makers; expansions of every game; games as (name, theme).
GAMES = {
    "Strategy Games": (
        ("90 to 120 minutes, 2 to 4 players", ("Granite Table", "Cartographer Games")),
        ("Northern Ports", "Age of Guilds", "The Usurper", "Winter Campaign"),
        (
            ("Salt Routes", "trade fleets and spice harbours"),
            ("Terraform Ridge", "rival colonies on a red planet"),
            ("Barons of Brandenburg", "feudal intrigue and castles"),
            ("Loom of Empires", "civilisations from bronze to steam"),
            ("Deep Shaft", "mining companies below the city"),
            ("Orchard Kings", "farming dynasties"),
            ("Signal Tower", "railway dispatching"),
            ("Ember Legion", "fantasy armies"),
            ("Lighthouse Keepers", "cooperative storms"),
        ),
    ),
    "Family Games": (
        ("20 to 40 minutes, 2 to 6 players", ("Jolly Pawn", "Red Kite Games")),
        ("More Friends", "Silly Seasons", "Travel Deck"),
        (
            ("Hedgehog Hurry", "hungry hedgehogs in the garden"),
            ("Soup or Sock", "quick bluffing"),
            ("Cloud Bakery", "stacking cakes in the sky"),
            ("Penguin Parade", "sliding penguins"),
            ("Museum Heist", "sneaking past the guards"),
            ("Word Wagon", "letters and rhymes"),
            ("Dragon Diner", "cooking for picky dragons"),
            ("Treehouse Trap", "balancing planks"),
        ),
    ),
}

# Gear. World: category, id prefix; type: noun, features, accessories; lines as (name, brand, type).
GEAR: dict[str, Any] = {
    "Camping": (
        ("Outdoor > Camping", "out"),
        {
            "tent": (
                "a freestanding shelter for wet nights",
                ("Footprint", "Spare Pole Set", "Gear Loft", "Repair Kit"),
            ),
            "stove": (
                "a gas burner with simmer control",
                ("Windscreen", "Pot Stand", "Igniter", "Gas Adapter"),
            ),
            "sleeping bag": ("lofted insulation for cold ground", ("Silk Liner", "Storage Sack", "Pillow")),
        },
        (
            ("Kestrel", "Northpeak", "tent"),
            ("Bivouac Two", "Hillfolk", "tent"),
            ("Storm Lodge", "Taiga Supply", "tent"),
            ("Pocket Ember", "Cinder & Co", "stove"),
            ("Trail Kitchen", "Cinder & Co", "stove"),
            ("Basecamp Duo", "Taiga Supply", "stove"),
            ("Eider", "Northpeak", "sleeping bag"),
            ("Marmot Hollow", "Hillfolk", "sleeping bag"),
            ("Polar Night", "Taiga Supply", "sleeping bag"),
        ),
    ),
    "Hiking": (
        ("Outdoor > Hiking", "out"),
        {
            "backpack": (
                "a vented frame and load lifters",
                ("Rain Cover", "Hydration Bladder", "Hip Pouch", "Lid Pocket"),
            ),
            "boots": ("a grippy sole for scree and roots", ("Insoles", "Spare Laces", "Care Wax", "Gaiters")),
            "poles": ("three sections and cork grips", ("Snow Baskets", "Rubber Tips", "Carry Bag")),
        },
        (
            ("Ridgeway 45", "Hillfolk", "backpack"),
            ("Cairn 30", "Northpeak", "backpack"),
            ("Switchback 60", "Taiga Supply", "backpack"),
            ("Fellwalker", "Stonefoot", "boots"),
            ("Gritstone Mid", "Stonefoot", "boots"),
            ("Bogtrotter", "Hillfolk", "boots"),
            ("Heron", "Northpeak", "poles"),
            ("Summit Trio", "Stonefoot", "poles"),
        ),
    ),
    "Cycling": (
        ("Outdoor > Cycling", "out"),
        {
            "bike light": (
                "a road beam seen from half a mile",
                ("Handlebar Mount", "Charging Dock", "Red Lens"),
            ),
            "pannier": (
                "a roll-top bag that clips to the rack",
                ("Shoulder Strap", "Inner Pouch", "Spare Hooks", "Reflective Cover"),
            ),
            "helmet": (
                "a light shell with wide vents",
                ("Visor", "Winter Cap", "Replacement Pads", "Rear Blinker"),
            ),
        },
        (
            ("Lumen Road", "Velo Nord", "bike light"),
            ("Firefly 800", "Spoke & Mirror", "bike light"),
            ("Night Rider", "Velo Nord", "bike light"),
            ("Grocer", "Spoke & Mirror", "pannier"),
            ("Transcontinental", "Velo Nord", "pannier"),
            ("Commuter Roll", "Pedalworks", "pannier"),
            ("Aero Finch", "Pedalworks", "helmet"),
            ("Towpath", "Spoke & Mirror", "helmet"),
        ),
    ),
    "Instruments": (
        ("Music > Instruments", "mu"),
        {
            "ukulele": ("a warm mahogany body", ("Gig Bag", "String Set", "Clip Tuner", "Strap")),
            "keyboard": ("weighted keys and a quiet mode", ("Stand", "Sustain Pedal", "Dust Cover", "Bench")),
            "violin": (
                "a spruce top and fitted bow",
                ("Shoulder Rest", "Rosin", "Practice Mute", "String Set"),
            ),
        },
        (
            ("Coral Bay", "Morrow", "ukulele"),
            ("Banyan Concert", "Morrow", "ukulele"),
            ("Sundown Tenor", "Palm & Pine", "ukulele"),
            ("Nocturne 61", "Keystone Audio", "keyboard"),
            ("Parlour 88", "Keystone Audio", "keyboard"),
            ("Cremona Student", "Palm & Pine", "violin"),
            ("Heath Fiddle", "Morrow", "violin"),
        ),
    ),
    "Stargazing": (
        ("Nature > Optics", "nt"),
        {
            "telescope": (
                "a bright reflector for planets and nebulae",
                ("Barlow Lens", "Moon Filter", "Phone Mount", "Red Dot Finder"),
            ),
            "binoculars": (
                "sharp glass for birds at dusk",
                ("Harness", "Tripod Adapter", "Rain Guard", "Lens Pen"),
            ),
            "trail camera": ("a silent camera for night animals", ("Tree Strap", "Solar Panel", "Steel Box")),
        },
        (
            ("Orion's Door", "Skyglass", "telescope"),
            ("Backyard 130", "Skyglass", "telescope"),
            ("Comet Hunter", "Helios Optics", "telescope"),
            ("Wader 8x42", "Helios Optics", "binoculars"),
            ("Goldcrest 10x32", "Fenwick Field", "binoculars"),
            ("Heathland 7x50", "Fenwick Field", "binoculars"),
            ("Badger Watch", "Fenwick Field", "trail camera"),
            ("Night Vole", "Helios Optics", "trail camera"),
        ),
    ),
}
COLOURS = ("moss green", "slate blue", "rust orange", "charcoal", "sand", "berry red")

# Things bought for themselves, in the same worlds: title nouns that combine with a maker's adjective.
SINGLES = {
    "Textile Crafts": (
        "Craft > Textiles",
        "cr",
        "Yarn Bowl,Row Counter,Thread Snips,Pin Cushion,Sock Blockers",
    ),
    "Model Making": (
        "Craft > Models",
        "cr",
        "Cutting Mat,Hobby Tweezers,Paint Rack,Magnifier Lamp,Plastic Glue",
    ),
    "Maker Workshop": (
        "Craft > Workshop",
        "cr",
        "Bench Vise,Wire Stripper,Sanding Block,Shop Apron,Steel Ruler",
    ),
    "Sheet Music": ("Music > Method Books", "mu", "Music Stand,Metronome,Manuscript Pad,Page Clips"),
    "Strategy Games": ("Games > Strategy", "gm", "Card Sleeves,Dice Tower,Coin Set,Playmat"),
    "Family Games": ("Games > Family", "gm", "Jigsaw of the Alps,Domino Tin,Marble Run,Playing Cards"),
    "Camping": ("Outdoor > Camping", "out", "Enamel Mug,Camp Chair,Dry Bag,Lantern,Folding Spade,Tarp"),
    "Hiking": (
        "Outdoor > Hiking",
        "out",
        "Compass,Water Filter,Wool Socks,Map Case,First Aid Pouch,Headlamp",
    ),
    "Cycling": ("Outdoor > Cycling", "out", "Mini Pump,Chain Oil,Puncture Kit,Bell,Bottle Cage,Rain Cape"),
    "Instruments": ("Music > Instruments", "mu", "Kalimba,Tin Whistle,Shaker Egg,Ear Plugs"),
    "Stargazing": ("Nature > Optics", "nt", "Star Atlas,Bird Feeder,Moth Trap,Owl Nest Box,Moon Map"),
}
MAKES = (
    ("Everyday", "plain, sturdy and cheap to replace"),
    ("Heritage", "made the old way, from materials that age well"),
    ("Ultralight", "half the weight for those who count grams"),
)

# Where tastes move to.
DRIFTS = {
    "Fantasy": ("Strategy Games", "Model Making"),
    "Science Fiction": ("Stargazing", "Maker Workshop"),
    "Crime": ("Fantasy", "Textile Crafts"),
    "Children's Books": ("Family Games", "Textile Crafts"),
    "Textile Crafts": ("Maker Workshop", "Children's Books"),
    "Model Making": ("Strategy Games", "Science Fiction"),
    "Maker Workshop": ("Cycling", "Instruments"),
    "Sheet Music": ("Instruments", "Crime"),
    "Strategy Games": ("Fantasy", "Science Fiction"),
    "Family Games": ("Children's Books", "Camping"),
    "Camping": ("Hiking", "Stargazing"),
    "Hiking": ("Camping", "Cycling"),
    "Cycling": ("Hiking", "Maker Workshop"),
    "Instruments": ("Sheet Music", "Family Games"),
    "Stargazing": ("Camping", "Science Fiction"),
}


@dataclass(frozen=True, eq=False)
class Product:
    """What the shop writes about one item. Two products with the same text are still two."""

    title: str
    brand: str
    category: str
    description: str
    prefix: str


@dataclass(eq=False)
class Slot:
    """One thing to own: one product, or several that differ in colour or only in their item id."""

    products: list[Product]
    announced: bool = False


@dataclass(frozen=True, eq=False)
class Line:
    """Things that belong together: bought in order if `ordered`, else a main product and its accessories."""

    slots: list[Slot]
    ordered: bool


@dataclass
class Customer:
    """Taste moves from home to away; `owned` has slots per line, the last touched line last."""

    home: str
    away: str
    owned: dict[Line, list[int]] = field(default_factory=dict)


class Dice:
    """Draws from one seed, by `random()` alone."""

    def __init__(self, seed: int) -> None:
        """Seed the stream."""
        self.random = random.Random(seed).random

    def pick(self, values: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """Draw one of the values, evenly without weights."""
        totals = list(itertools.accumulate(weights if weights is not None else [1.0] * len(values)))
        return values[min(bisect(totals, self.random() * totals[-1]), len(values) - 1)]

    def shuffled(self, values: Sequence[T]) -> list[T]:
        """Return the values in random order."""
        keys = [self.random() for _ in values]
        return [values[place] for place in sorted(range(len(values)), key=keys.__getitem__)]


def book_lines(genre: str, dice: Dice) -> list[Line]:
    """Write a genre's series, a line each, and its single novels."""
    publishers, adjective_list, noun_list, plots, series = BOOKS[genre]
    category = f"Books > {genre}"
    nouns = noun_list.split()
    titles = [f"The {adjective} {noun}" for adjective in adjective_list.split() for noun in nouns]
    titles += [f"{noun} and {other}" for noun in nouns for other in nouns if noun < other]
    title = iter(dice.shuffled(titles))
    lines = []
    for name, author, hero, setting, volumes in series:
        publisher = dice.pick(publishers)
        slots = []
        for ordinal in ORDINALS[:volumes]:
            text = (
                f"Book {ordinal} of the {name.removeprefix('The ')} series by {author}. "
                f"{hero[0].upper()}{hero[1:]} {dice.pick(plots)}. Setting: {setting}."
            )
            slots.append(
                Slot([Product(f"{next(title)} ({name}, Book {ordinal})", publisher, category, text, "bk")])
            )
        lines.append(Line(slots, ordered=True))
    authors = dice.shuffled([author for _, author, *_ in series])
    for number in range(NUM_SINGLE_NOVELS):
        author = authors[number % len(authors)]
        text = f"A single novel by {author}. A stranger {dice.pick(plots)}. Setting: {dice.pick(series)[3]}."
        product = Product(next(title), dice.pick(publishers), category, text, "bk")
        lines.append(Line([Slot([product])], ordered=True))
    return lines


def graded_lines(world: str, dice: Dice) -> list[Line]:
    """Write a world's kits or method books, one line per subject, from the first grade to the last."""
    (category, prefix, medium, makers), projects, subjects = GRADED[world]
    lines = []
    for name, craft in subjects:
        maker = dice.pick(makers)
        slots = []
        for number, grade in enumerate(GRADES[: dice.pick((4, 5, 5))]):
            title = f"{name}: {craft.title()} {medium.title()}, Level {ORDINALS[number]} ({grade})"
            text = (
                f"{grade} {craft} {medium} of the {name} course, level {ORDINALS[number].lower()}: "
                f"{projects[number]}. "
                f"{'No experience needed.' if number == 0 else 'Follows the level before it.'}"
            )
            slots.append(Slot([Product(title, maker, category, text, prefix)]))
        lines.append(Line(slots, ordered=True))
    return lines


def game_lines(world: str, dice: Dice) -> list[Line]:
    """Write a world's games: the base game, then its expansions in order."""
    (play, makers), expansions, games = GAMES[world]
    category = f"Games > {world.removesuffix(' Games')}"
    lines = []
    for name, theme in games:
        maker = dice.pick(makers)
        base = Product(f"{name} Board Game", maker, category, f"{name}: a game of {theme}. {play}.", "gm")
        slots = [Slot([base])]
        for ordinal, expansion in zip(ORDINALS, expansions, strict=False):
            text = f"Expansion {ordinal} for {name}, the game of {theme}. Needs the base game."
            title = f"{name}: {expansion} (Expansion {ordinal})"
            slots.append(Slot([Product(title, maker, category, text, "gm")]))
        lines.append(Line(slots, ordered=True))
    return lines


def gear_lines(world: str, dice: Dice) -> list[Line]:
    """Write a world's main products in their colours, each with the accessories made for it."""
    (category, prefix), types, products = GEAR[world]
    lines = []
    for name, brand, kind in products:
        feature, accessories = types[kind]
        mains = []
        for colour in dice.shuffled(COLOURS)[: dice.pick((1, 2, 2, 3))]:
            text = f"The {name} {kind} by {brand}: {feature}. Colour: {colour}."
            mains.append(Product(f"{name} {kind.title()}", brand, category, text, prefix))
        slots = [Slot(mains)]
        for accessory in accessories:
            text = f"{accessory} made for the {name} {kind} by {brand}. Fits no other {kind}."
            title = f"{accessory} for {name} {kind.title()}"
            slots.append(Slot([Product(title, brand, category, text, prefix)]))
        lines.append(Line(slots, ordered=False))
    return lines


def single_lines(world: str, dice: Dice) -> list[Line]:
    """Write a world's things that are bought for themselves."""
    category, prefix, names = SINGLES[world]
    lines = []
    for name in names.split(","):
        for make, praise in dice.shuffled(MAKES)[: dice.pick((1, 2, 2, 3))]:
            text = f"{name} from our {make.lower()} range: {praise}. For {world.lower()} and more."
            product = Product(f"{make} {name}", f"{make} Goods", category, text, prefix)
            lines.append(Line([Slot([product])], ordered=True))
    return lines


def make_worlds(dice: Dice) -> dict[str, list[Line]]:
    """Write all items; lines stand in their order of popularity within a world."""
    worlds: dict[str, list[Line]] = {}
    for world in DRIFTS:
        lines: list[Line] = []
        for table, write in (
            (BOOKS, book_lines),
            (GRADED, graded_lines),
            (GAMES, game_lines),
            (GEAR, gear_lines),
        ):
            lines += write(world, dice) if world in table else []
        worlds[world] = dice.shuffled(lines) + (single_lines(world, dice) if world in SINGLES else [])
    every_line = [line for lines in worlds.values() for line in lines]
    for line in dice.shuffled([line for line in every_line if len(line.slots) > 1])[:NUM_ANNOUNCED]:
        line.slots[-1].announced = True
    on_sale = [slot for line in every_line for slot in line.slots if not slot.announced]
    for slot in dice.shuffled(on_sale)[:NUM_LISTED_TWICE]:
        slot.products.append(replace(slot.products[0]))
    return worlds


def next_slot(line: Line, customer: Customer, dice: Dice) -> int | None:
    """Draw what follows in a line that the customer has begun; None when there is nothing left."""
    owned = customer.owned[line]
    first = owned[-1] + 1 if line.ordered else 0
    left = [
        slot for slot in range(first, len(line.slots)) if slot not in owned and not line.slots[slot].announced
    ]
    if not left:
        return None
    if line.ordered:
        return left[1] if len(left) > 1 and dice.random() < P_SKIP else left[0]
    return dice.pick(left, [0.5**rank for rank in range(len(left))])


def line_popularity(rank: int) -> float:
    """Return the weight of a world's line by its rank: a level head, then a long tail."""
    return max(LINE_FLOOR, min(1.0, LINE_DECAY ** (rank - NUM_POPULAR_LINES + 1)))


def new_line(worlds: dict[str, list[Line]], customer: Customer, share: float, dice: Dice) -> Line:
    """Draw a line that the customer has not begun.

    Args:
        worlds: Lines by world, most popular first.
        customer: Whose taste it is.
        share: How much of the customer's purchases lie behind, in [0, 1): the chance that taste has moved.
        dice: The draws.
    """
    while True:
        world = customer.away if dice.random() < share else customer.home
        if dice.random() < P_WHIM:
            world = dice.pick(list(DRIFTS))
        lines = worlds[world]
        line = dice.pick(lines, [line_popularity(rank) for rank in range(len(lines))])
        if line not in customer.owned:
            return line


def purchase(worlds: dict[str, list[Line]], customer: Customer, share: float, dice: Dice) -> tuple[Line, int]:
    """Draw the next purchase as a line and a slot that the customer does not own."""
    begun = list(reversed(customer.owned))  # the last touched line first
    chance = dice.random()
    if chance < P_NEXT:
        candidates = begun[:1]
    elif chance < P_NEXT + P_RETURN:
        candidates = begun[1:]
    else:
        candidates = []
    for line in candidates:
        slot = next_slot(line, customer, dice)
        if slot is not None:
            return line, slot
    line = new_line(worlds, customer, share, dice)
    on_sale = [slot for slot in range(len(line.slots)) if not line.slots[slot].announced]
    return line, on_sale[0] if dice.random() < P_ENTRY else dice.pick(on_sale)


def purchases(worlds: dict[str, list[Line]], length: int, dice: Dice) -> list[Product]:
    """Let one customer buy `length` things, none of them twice."""
    names = list(DRIFTS)
    home = dice.pick(names, [WORLD_DECAY**rank for rank in range(len(names))])
    customer = Customer(home, dice.pick(DRIFTS[home], (0.7, 0.3)))
    bought = []
    for step in range(length):
        line, slot = purchase(worlds, customer, step / length, dice)
        customer.owned[line] = [*customer.owned.pop(line, []), slot]
        products = line.slots[slot].products
        bought.append(dice.pick(products, [0.6**rank for rank in range(len(products))]))
    return bought


def draw_length(user: int, dice: Dice) -> int:
    """Draw the number of purchases: one or two for a few users, else five and a geometric number more."""
    if user < NUM_SHORT_USERS:
        return dice.pick((1, 2))
    length = 5
    while length < MAX_EVENTS and dice.random() < MEAN_EXTRA_EVENTS / (1 + MEAN_EXTRA_EVENTS):
        length += 1
    return length


def make_log(
    worlds: dict[str, list[Line]], item_ids: dict[Product, str], dice: Dice
) -> list[tuple[str, str, str]]:
    """Return all purchases as (user id, item id, ISO time), sorted by time as a shop's log is."""
    events = []
    for number, user in enumerate(dice.shuffled(range(NUM_USERS)), start=1):
        when = FIRST_DAY + timedelta(seconds=int(dice.random() * 500 * 86400))
        for product in purchases(worlds, draw_length(user, dice), dice):
            events.append((when, f"u{number:04d}", item_ids[product]))
            days = 1 + 30 * dice.random() * dice.random()
            when += timedelta(seconds=int(days * 86400))
    return [(user_id, item_id, when.isoformat()) for when, user_id, item_id in sorted(events)]


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write rows as UTF-8 CSV with Unix line ends on every system."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def make_demo_data(output: Path, seed: int) -> None:
    """Write items.csv and interactions.csv to the directory `output`."""
    dice = Dice(seed)
    worlds = make_worlds(dice)
    products = [
        p for lines in worlds.values() for line in lines for slot in line.slots for p in slot.products
    ]
    products = dice.shuffled(products)  # neither ids nor rows give away the order of a series
    counts: Counter[str] = Counter()
    item_ids: dict[Product, str] = {}
    for product in products:
        counts[product.prefix] += 1
        item_ids[product] = f"{product.prefix}-{counts[product.prefix]:04d}"
    rows = [(item_ids[p], p.title, p.brand, p.category, p.description) for p in products]
    log = make_log(worlds, item_ids, dice)
    output.mkdir(parents=True, exist_ok=True)
    write_csv(output / "items.csv", ("item_id", "title", "brand", "category", "description"), rows)
    write_csv(output / "interactions.csv", ("user_id", "item_id", "timestamp"), log)
    print(f"{output}: {len(rows)} items, {NUM_USERS} users, {len(log)} events")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the demo catalogue.")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).resolve().parent.parent / "sidrec" / "demo"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    make_demo_data(arguments.output, arguments.seed)
