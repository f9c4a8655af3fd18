"""The words of the admission sections: complaints, findings, frames around a name."""

from __future__ import annotations

COMPLAINTS = (  # three for each profile, in the order of catalog.PROFILES
    ("chest pressure", "palpitations", "leg swelling"),
    ("dyspnea", "cough", "wheezing"),
    ("abdominal pain", "vomiting", "diarrhea"),
    ("jaundice", "abdominal distension", "itching"),
    ("abnormal labs", "flank pain", "decreased urine"),
    ("weakness", "slurred speech", "headache"),
    ("trauma", "back pain", "leg pain"),
    ("weight loss", "neck mass", "poor appetite"),
    ("fever", "chills", "rigors"),
    ("agitation", "intoxication", "psychiatric evaluation"),
    ("cold leg", "calf pain", "toe discoloration"),
    ("easy bruising", "pallor", "night sweats"),
)
FINDINGS = (  # one for each profile, and a normal exam
    ("displaced apical impulse", "JVP elevated", "S3 gallop"),
    ("diffuse rhonchi", "prolonged expiration", "poor air movement"),
    ("tender epigastrium", "hypoactive bowel sounds", "guarding"),
    ("scleral icterus", "spider angiomata", "palmar erythema"),
    ("trace sacral edema", "fistula with thrill", "flank tenderness"),
    ("pronator drift", "facial droop", "slow to respond"),
    ("limb deformity", "ecchymosis over hip", "limited range of motion"),
    ("firm supraclavicular node", "temporal thinning", "port in place"),
    ("hot flushed skin", "purulent drainage", "warm extremities"),
    ("flat affect", "tremulous hands", "poor eye contact"),
    ("absent pedal pulses", "dusky toes", "cool feet"),
    ("conjunctival pallor", "petechiae", "palpable spleen"),
    ("unremarkable exam", "heart and lungs normal", "soft belly, clear chest"),
)
GENERAL = (
    ("NAD", "comfortable", "well appearing"),
    ("uncomfortable", "fatigued", "mild distress"),
    ("ill appearing", "lethargic", "in distress"),
)
# systolic and diastolic pressure: lowest and highest of each level; at the first, none is written
VITALS = (None, ((112, 138), (64, 84)), ((98, 112), (52, 66)), ((70, 92), (36, 52)))
OPENINGS = (
    "___ year old {sex} with {known} who presents with {complaint}.",
    "___ yo {sex} w/ {known} p/w {complaint}.",
    "___ {sex} with {known} admitted for {complaint}.",
)
BARE_OPENINGS = (
    "___ year old {sex} who presents with {complaint}.",
    "___ yo {sex} p/w {complaint}.",
    "___ {sex} admitted for {complaint}.",
)
VAGUE_OPENINGS = (
    "___ year old {sex} with {known}.",
    "___ yo {sex} w/ {known}.",
    "___ {sex} with {known} sent by the clinic.",
)
BARE_VAGUE_OPENINGS = (
    "___ year old {sex}.",
    "___ yo {sex} sent by the clinic.",
)
DENIED = ("Denies {names}.", "No {names}.", "Never had {names}.", "Without {names}.")
NOT_FOUND = ("No {names}.", "Without {names}.", "{Names} absent.")
NEGATED_IN_HISTORY = (
    "Denies {names}.",
    "No {names}.",
    "No evidence of {names}.",
    "Negative for {names}.",
    "{Names} ruled out.",
    "{Names} felt unlikely.",
)
NEGATED_IN_PAST = ("No history of {names}", "Never had {names}", "Denies {names}", "No {names}")
UNCERTAIN = (
    "Possible {name}.",
    "Concern for {name}.",
    "{Name} not excluded.",
    "Question of {name}.",
)
GIVEN = ("Given {drug}.", "Started on {drug}.", "Received {drug}.", "{Drug} begun.")
HISTORICAL = (
    "remote {name}, resolved",
    "{name} as a child",
    "prior {name}, treated",
    "former {name}",
)
RELATIVES = ("Mother", "Father", "Sister", "Brother", "Grandmother", "Son")
OF_RELATIVE = ("{who} with {name}", "{who}: {name}", "{who} had {name}", "{name} in {who_small}")
RELATIVE_IN_HISTORY = (
    "Lives with {who_small}, who has {name}.",
    "{who} recently treated for {name}.",
)
ALLERGIES = ("none known", "penicillins", "sulfa drugs", "codeine", "aspirin")
NO_FAMILY = ("Not known", "None", "___")
NO_PAST = ("None", "As above", "See HPI")
NO_MEDICATION = ("None", "Not known", "No medications")
