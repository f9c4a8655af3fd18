"""Everyday words of the general corpus, by their part in a sentence."""

from __future__ import annotations

# fmt: off
PEOPLE = (
    "my neighbor", "the teacher", "a friend", "the old man", "the young woman", "our guide",
    "her brother", "his mother", "the farmer", "the driver", "a student", "the cook",
    "the shopkeeper", "my grandmother", "the doctor", "a nurse", "the whole family",
    "the captain", "a visitor", "the mayor", "the baker", "two sisters", "the painter",
    "an uncle", "the judge", "a sailor", "the widow", "his son", "her father", "the clerk",
)
PLACES = (
    "the market", "the station", "the river", "the garden", "the hospital", "the library",
    "a small town", "the coast", "the kitchen", "the office", "the school", "the mountains",
    "the clinic", "the harbor", "the village square", "the bridge", "the church", "the museum",
    "the forest", "the farm", "the theater", "an island", "the airport", "the border",
    "the cellar",
)
TIMES = (
    "in the morning", "last week", "on Sunday", "after the storm", "before dinner",
    "in early spring", "years ago", "every evening", "during the winter", "at noon",
    "once a month", "as a child", "after two days", "for many years", "since last night",
    "until May", "three times a day", "for six hours", "at midnight", "this year",
    "on the third day", "without delay", "now and then", "as needed", "by mouth",
)
NOUNS = (
    "bread", "milk", "apple", "table", "window", "door", "roof", "lamp", "chair", "book",
    "letter", "road", "train", "ship", "horse", "dog", "cat", "bird", "fish", "tree", "stone",
    "wall", "fire", "water", "rain", "snow", "wind", "cloud", "sun", "moon", "star", "field",
    "hill", "lake", "boat", "wheel", "engine", "tool", "knife", "spoon", "plate", "cup", "bottle",
    "box", "bag", "coat", "shoe", "hat", "shirt", "ring", "coin", "clock", "bell", "song",
    "story", "picture", "color", "paper", "ink", "pen", "map", "key", "lock", "bed", "blanket",
    "pillow", "soap", "towel", "mirror", "comb", "salt", "sugar", "flour", "rice", "bean",
    "onion", "carrot", "potato", "butter", "cheese", "egg", "meat", "soup", "tea", "coffee",
    "wine", "beer", "honey", "nut", "grape", "pear", "plum", "leaf", "root", "seed", "flower",
    "grass", "wood", "iron", "glass", "rope", "chain", "nail", "hammer", "saw", "brush", "bucket",
    "ladder", "fence", "gate", "yard", "barn", "cart", "sack", "basket", "thread", "needle",
    "cloth", "wool", "silk", "leather", "paint", "dust", "smoke", "ash", "sand", "clay", "mud",
    "ice", "frost", "thunder", "shadow", "light", "heat", "cold", "noise", "silence", "smell",
    "taste", "touch", "pain", "joy", "fear", "hope", "anger", "sleep", "dream", "work", "rest",
    "play", "game", "race", "prize", "debt", "price", "tax", "law", "court", "vote", "king",
    "war", "peace", "army", "flag", "border", "news", "question", "answer", "reason", "cause",
    "effect", "sign", "mark", "number", "name", "word", "line", "page", "list", "report", "plan",
    "order", "change", "loss", "gain", "growth", "failure", "disease", "infection", "fever",
    "cough", "wound", "blood", "bone", "heart", "lung", "liver", "kidney", "brain", "nerve",
    "muscle", "skin", "stomach", "bowel", "bladder", "joint", "hip", "knee", "foot", "leg", "arm",
    "hand", "neck", "back", "chest", "head", "face", "eye", "ear", "nose", "throat", "mouth",
    "tongue", "tooth", "hair", "nail", "vein", "artery", "valve", "vessel", "clot", "stone",
    "ulcer", "cancer", "tumor", "stroke", "attack", "shock", "injury", "fracture", "swelling",
    "weakness", "pressure", "sugar", "level", "count", "test", "scan", "dose", "pill", "drip",
    "tube", "drain", "graft", "stent", "clinic", "ward", "visit", "history", "exam", "care",
)
ADJECTIVES = (
    "small", "large", "old", "new", "young", "early", "late", "long", "short", "high", "low",
    "deep", "wide", "narrow", "thick", "thin", "heavy", "weak", "strong", "hard", "soft", "warm",
    "cold", "hot", "cool", "dry", "wet", "clean", "dirty", "full", "empty", "open", "closed",
    "blocked", "broken", "torn", "swollen", "painful", "quiet", "loud", "bright", "dark", "red",
    "blue", "green", "white", "black", "yellow", "gray", "brown", "pale", "sweet", "sour",
    "bitter", "fresh", "stale", "raw", "ripe", "rich", "poor", "cheap", "rare", "common",
    "strange", "known", "unknown", "possible", "likely", "unlikely", "certain", "sudden", "slow",
    "fast", "acute", "chronic", "mild", "moderate", "severe", "stable", "normal", "abnormal",
    "active", "former", "recent", "prior", "remote", "left", "right", "upper", "lower", "inner",
    "outer", "front", "bilateral", "partial", "total", "primary", "secondary", "general", "local",
    "distant", "free", "busy", "tired", "happy", "sad", "angry", "calm", "brave", "kind", "proud",
    "wise", "careful", "ready", "safe", "dangerous", "useful", "useless", "simple", "difficult",
    "important", "final", "positive", "negative", "present", "absent", "irregular", "enlarged",
    "inflamed", "infected", "scarred", "leaky", "tight", "worn", "brittle", "trapped", "racing",
    "failing",
)
VERBS = (
    "saw", "found", "lost", "bought", "sold", "made", "broke", "painted", "carried", "left",
    "reached", "crossed", "watched", "heard", "followed", "met", "called", "helped", "asked",
    "told", "gave", "took", "held", "kept", "opened", "closed", "washed", "cooked", "ate",
    "drank", "built", "burned", "cut", "pulled", "pushed", "moved", "threw", "caught", "hid",
    "showed", "drew", "read", "wrote", "sent", "received", "started", "stopped", "changed",
    "checked", "treated", "managed", "denied", "reported", "noted", "admitted", "discharged",
    "transferred", "tolerated", "improved", "resolved",
)
SYLLABLES = (
    "ba", "be", "bi", "bo", "bu", "ca", "ce", "ci", "co", "cu", "da", "de", "di", "do", "du",
    "fa", "fe", "fi", "fo", "fu", "ga", "ge", "gi", "go", "gu", "ha", "he", "hi", "ho", "hy",
    "ja", "je", "jo", "ka", "ke", "ki", "ko", "la", "le", "li", "lo", "lu", "ma", "me", "mi",
    "mo", "mu", "na", "ne", "ni", "no", "nu", "pa", "pe", "pi", "po", "pu", "qua", "ra", "re",
    "ri", "ro", "ru", "sa", "se", "si", "so", "su", "ta", "te", "ti", "to", "tu", "va", "ve",
    "vi", "vo", "wa", "we", "wi", "xa", "xi", "ya", "yo", "za", "ze", "zo", "al", "an", "ar",
    "el", "en", "er", "il", "in", "ol", "on", "or", "um", "ul", "as", "is", "os", "us", "ast",
    "est", "ist", "ost", "ph", "th", "tr", "pr", "cr", "bl", "cl", "gl", "pl", "st", "sp", "ch",
    "sh", "ny", "ly", "ty", "my", "ry", "dy", "sy", "ation", "ine", "ol", "ide", "ate", "osis",
    "itis", "emia", "ic", "al",
)
