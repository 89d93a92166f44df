"""What the diorama can show: the values of every attribute, and the words for each of them.

The first wording of a value is the canonical one. Values are also the labels that recordings carry.
"""

from __future__ import annotations

ACTION_NAMES = ("ArrowLeft", "ArrowRight", "ArrowUp", "KeyA", "KeyD")

# where it is: (canonical, synonyms...), each read after the subject
PLACES: dict[str, tuple[str, ...]] = {
    "forest": ("in a forest", "in the woods", "among the forest trees", "in a green forest"),
    "meadow": ("in a meadow", "in a flowery meadow", "on a grassy field of flowers"),
    "desert": ("in a desert", "in the sandy desert", "among cactuses in the desert"),
    "beach": ("on a beach", "on the seashore", "on a beach by the sea"),
    "snowfield": ("in a snowfield", "in a snowy field", "in a snowy land of mountains"),
    "cave": ("in a cave", "in a crystal cave", "inside a dark cavern"),
    "hall": ("in a castle hall", "in the hall of a castle", "in a great hall"),
    "courtyard": ("in a castle courtyard", "in the courtyard of a castle", "by the castle walls outside"),
}

TIMES: dict[str, tuple[str, ...]] = {
    "day": ("by day", "in daylight", "during the day", "in the daytime"),
    "sunset": ("at sunset", "in the evening", "at dusk", "as the sun goes down"),
    "night": ("at night", "by night", "in the moonlight", "late at night"),
}

WEATHERS: dict[str, tuple[str, ...]] = {
    "clear": ("the sky is clear", "in clear weather", "the weather is fine"),
    "rain": ("it rains", "in the rain", "while it rains", "rain is falling"),
    "snow": ("it snows", "while it snows", "in falling snow", "snow is falling"),
    "fog": ("it is foggy", "in thick fog", "fog drifts by", "in the mist"),
}

HEROES: dict[str, tuple[str, ...]] = {
    "pig": ("pig", "fat pig", "piglet"),
    "cat": ("cat", "kitty"),
    "fox": ("fox", "sly fox"),
    "knight": ("knight", "brave knight", "knight with a sword"),
    "guard": ("guard", "guard with a spear", "guardsman"),
    "thief": ("thief", "hooded thief", "thief with a sack"),
    "ghost": ("ghost", "spooky ghost", "phantom"),
    "robot": ("robot", "boxy robot", "android"),
}

COLOURS: dict[str, tuple[str, ...]] = {
    "red": ("red", "crimson"),
    "blue": ("blue", "azure"),
    "green": ("green", "emerald"),
    "yellow": ("yellow", "golden"),
    "purple": ("purple", "violet"),
    "white": ("white", "snow-white"),
}

# (finite verb, participle) for each wording
DOINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "stands": (("stands", "standing"), ("stands still", "standing still"), ("waits", "waiting"), ("stops", "resting")),
    "walks left": (
        ("walks left", "walking left"),
        ("walks to the left", "walking to the left"),
        ("goes left", "going left"),
        ("runs to the left", "running to the left"),
    ),
    "walks right": (
        ("walks right", "walking right"),
        ("walks to the right", "walking to the right"),
        ("goes right", "going right"),
        ("runs to the right", "running to the right"),
    ),
    "jumps": (("jumps", "jumping"), ("jumps up", "jumping up"), ("leaps", "leaping"), ("hops", "hopping")),
}

PROPS: dict[str, tuple[str, ...]] = {
    "none": (),
    "lit torch": ("a lit torch", "a torch is burning", "a torch is lit", "a burning torch stands there"),
    "unlit torch": ("an unlit torch", "a torch is out", "a torch has gone out", "a cold torch stands there"),
    "open door": ("an open door", "a door is open", "a door stands open"),
    "shut door": ("a shut door", "a door is closed", "a closed door", "a door is shut"),
    "chest": ("a treasure chest", "a chest stands there", "a wooden chest"),
    "signpost": ("a signpost", "a wooden sign", "a signpost stands there"),
}

HAPPENINGS: dict[str, tuple[str, ...]] = {
    "none": (),
    "lightning": ("lightning flashes", "lightning strikes", "a bolt of lightning"),
    "fireworks": ("fireworks go off", "fireworks light up the sky", "fireworks explode"),
    "alarm bell": ("an alarm bell rings", "the alarm bell is ringing", "a bell rings the alarm"),
    "transformation": ("it has just been transformed", "in a puff of magic", "in a puff of smoke"),
}

# attribute -> its values, in the order of the labels
VALUES: dict[str, tuple[str, ...]] = {
    "place": tuple(PLACES),
    "time": tuple(TIMES),
    "weather": tuple(WEATHERS),
    "hero": tuple(HEROES),
    "colour": tuple(COLOURS),
    "doing": tuple(DOINGS),
    "prop": tuple(PROPS),
    "happening": tuple(HAPPENINGS),
}

# short phrases for a change, as a game would send them while it runs
EVENTS: dict[str, dict[str, tuple[str, ...]]] = {
    "place": {
        "forest": ("now it is a forest", "the place becomes a forest"),
        "meadow": ("now it is a meadow", "the place becomes a meadow"),
        "desert": ("now it is a desert", "the place becomes a desert"),
        "beach": ("now it is a beach", "the place becomes a beach"),
        "snowfield": ("now it is a snowfield", "the place becomes a snowy field"),
        "cave": ("now it is a cave", "the place becomes a cave"),
        "hall": ("now it is a castle hall", "the place becomes a castle hall"),
        "courtyard": ("now it is a castle courtyard", "the place becomes a castle courtyard"),
    },
    "time": {
        "day": ("day breaks", "the sun rises"),
        "sunset": ("the sun goes down", "evening comes"),
        "night": ("night falls", "it becomes night"),
    },
    "weather": {
        "clear": ("the sky clears", "the weather clears up"),
        "rain": ("it starts to rain", "rain begins to fall"),
        "snow": ("it starts to snow", "snow begins to fall"),
        "fog": ("fog rolls in", "it becomes foggy"),
    },
    "hero": {h: (f"the hero turns into a {h}", f"it becomes a {h}") for h in HEROES},
    "colour": {c: (f"the hero turns {c}", f"it becomes {c}") for c in COLOURS},
    "doing": {
        "stands": ("the hero stops", "it stands still"),
        "walks left": ("the hero walks left", "it goes to the left"),
        "walks right": ("the hero walks right", "it goes to the right"),
        "jumps": ("the hero jumps", "it jumps"),
    },
    "prop": {
        "none": ("the way is empty", "nothing stands there any more"),
        "lit torch": ("a torch is lit", "a torch starts to burn"),
        "unlit torch": ("a torch goes out", "an unlit torch appears"),
        "open door": ("a door opens", "an open door appears"),
        "shut door": ("a door shuts", "a shut door appears"),
        "chest": ("a treasure chest appears", "a chest appears"),
        "signpost": ("a signpost appears", "a wooden sign appears"),
    },
    "happening": {
        "none": ("it becomes quiet", "all is calm again"),
        "lightning": ("lightning flashes", "lightning strikes"),
        "fireworks": ("fireworks go off", "fireworks light up the sky"),
        "alarm bell": ("an alarm bell rings", "a bell rings the alarm"),
        "transformation": ("the hero is transformed", "a puff of magic"),
    },
}
