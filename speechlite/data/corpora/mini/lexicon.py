"""List the words of the synthetic corpus by word class, the most frequent first."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["HELD_OUT", "WORD_CLASSES"]

_NAMES = """
john mary henry anna william jane thomas alice george sarah robert emma james helen edward clara
arthur lucy frank rose samuel grace peter julia david martha oliver ruth daniel laura martin edith
simon nora walter hannah philip agnes luke rachel victor sophie ralph ellen felix dora oscar
"""
_TITLES = "mister captain doctor lady professor colonel uncle aunt sir father sister brother"
_PERSONS = """
man woman boy girl king queen child doctor farmer soldier teacher captain sailor lady servant
stranger lawyer merchant hunter painter writer priest baker driver officer gardener fisherman
singer widow shepherd miller prince poet student clerk judge thief nurse guard traveller dancer
butcher porter tailor builder prisoner neighbour
"""
_OBJECTS = """
book letter door horse table window lamp box chair fire boat key coat hat knife map cup basket
bottle ship bag candle mirror picture ring sword clock gun paper stone bell flag dress shoe spoon
blanket chest cart wheel rope drum saddle hammer nail pipe plate pillow ladder curtain bucket glove
purse coin pen barrel kettle needle ribbon violin trunk shovel anchor feather button carpet
helmet jacket ticket brush diary piano razor statue telescope umbrella whistle
"""
_PLURALS = """
books letters doors horses tables windows lamps boxes chairs boats keys coats hats knives maps cups
baskets bottles ships bags candles pictures rings swords clocks guns papers stones bells flags
dresses shoes spoons blankets carts wheels ropes drums nails pipes plates pillows ladders gloves
coins pens barrels needles ribbons feathers buttons tickets birds dogs sheep cows apples flowers
trees men women children soldiers sailors strangers days miles years hours nights weeks pounds
"""
_PLACES = """
house garden river town village forest castle church kitchen hill road school market bridge island
valley mountain city harbour field station tower lake shore palace farm desert street prison
library theatre cottage meadow cellar stable hospital museum temple tavern beach cave orchard
factory chapel palm square wharf
"""
_ADJECTIVES = """
old little young great good long white black small new poor red strange dark happy green quiet cold
blue beautiful large heavy warm bright brown golden gentle broken angry silent tall clever empty
yellow narrow proud silver foolish gray famous wooden honest lonely cheap wild rich soft fresh
dirty noble cruel curious rough careful purple wicked ancient deep famished gloomy hollow humble
iron jolly lovely merry muddy nervous pale polite rusty sharp shy slender steep tired
"""
_VERBS_OBJECT = """
saw took found gave had made left brought kept held lost sold opened carried bought wanted loved
showed broke watched followed painted stole hid carved cleaned dropped examined fetched guarded
hated lifted mended noticed offered packed pulled pushed raised received remembered repaired
searched shook touched washed admired borrowed burned counted
"""
_VERBS_ALONE = """
came went stood sat lived walked waited ran slept fell worked rested spoke laughed cried sang
danced smiled wept prayed hurried wandered listened trembled shouted whistled climbed knelt paused
travelled dreamed vanished arrived returned
"""
_VERBS_BASE = """
see find take give make keep leave bring hold sell open carry buy want love show break watch follow
paint hide clean drop fetch guard lift mend notice offer pack pull push raise receive remember
repair search shake touch wash admire borrow burn count
"""
_VERBS_ING = """
looking walking waiting singing reading writing sleeping working running talking laughing crying
dancing sitting standing playing thinking hoping dreaming coming going falling
"""
_SAYING = "said thought knew believed asked answered told heard felt hoped whispered declared"
_ADVERBS = """
never always often slowly soon again quickly quietly suddenly perhaps almost once gently sadly
certainly already carefully seldom gladly calmly bravely loudly softly eagerly proudly secretly
safely badly kindly
"""
_NUMBERS = """
two three four five six seven eight nine ten twelve twenty eleven thirty fifteen forty fifty
hundred sixteen fourteen thirteen eighteen sixty nineteen seventeen eighty seventy ninety thousand
"""
_HOURS = "seven eight nine ten six five four three two twelve eleven"
_DAYS = "monday sunday friday saturday tuesday thursday wednesday"
_MONTHS = """
may june april march december july january october september august november february
"""
_SEASONS = "summer winter spring autumn"
_PARTS = "morning evening night afternoon midnight noon"
_ABSTRACT = """
time life love hope truth fear peace work money war death power heart mind story trouble silence
pleasure fortune reason danger beauty courage justice memory patience music wisdom anger glory
"""
_PREPOSITIONS = """
in on near behind under beside by above before across through around beyond towards against
between below along
"""
_POSSESSIVES = "his her my their our your its"
_PRONOUNS = "he she they we i you it"
_OBJECT_PRONOUNS = "him her them us me you it"
_MODALS = "would could will should must may might can shall"
_CONJUNCTIONS = "when because while before after until although if since where"

WORD_CLASSES: Mapping[str, tuple[str, ...]] = {
    "NAME": tuple(_NAMES.split()),
    "TITLE": tuple(_TITLES.split()),
    "PERSON": tuple(_PERSONS.split()),
    "OBJECT": tuple(_OBJECTS.split()),
    "PLURAL": tuple(_PLURALS.split()),
    "PLACE": tuple(_PLACES.split()),
    "ADJ": tuple(_ADJECTIVES.split()),
    "VT": tuple(_VERBS_OBJECT.split()),
    "VI": tuple(_VERBS_ALONE.split()),
    "VB": tuple(_VERBS_BASE.split()),
    "VING": tuple(_VERBS_ING.split()),
    "SAID": tuple(_SAYING.split()),
    "ADV": tuple(_ADVERBS.split()),
    "NUM": tuple(_NUMBERS.split()),
    "HOUR": tuple(_HOURS.split()),
    "DAY": tuple(_DAYS.split()),
    "MONTH": tuple(_MONTHS.split()),
    "SEASON": tuple(_SEASONS.split()),
    "PART": tuple(_PARTS.split()),
    "ABSTRACT": tuple(_ABSTRACT.split()),
    "PREP": tuple(_PREPOSITIONS.split()),
    "POSS": tuple(_POSSESSIVES.split()),
    "PRO": tuple(_PRONOUNS.split()),
    "PRO_OBJ": tuple(_OBJECT_PRONOUNS.split()),
    "MODAL": tuple(_MODALS.split()),
    "CONJ": tuple(_CONJUNCTIONS.split()),
}
"""Words by the class that a sentence pattern asks for."""

HELD_OUT: Mapping[str, tuple[str, ...]] = {
    "NAME": ("rupert", "miriam", "gilbert"),
    "PERSON": ("wizard", "blacksmith", "sculptor", "pilgrim"),
    "OBJECT": ("lantern", "compass", "goblet", "sponge", "trumpet"),
    "PLACE": ("monastery", "canyon", "lighthouse", "swamp"),
    "ADJ": ("crooked", "velvet", "dusty"),
}
"""Words by class that no training utterance contains."""
