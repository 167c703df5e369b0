"""Words that headers use for body parts, views, animals and processed twins, in the languages of the senders.

Body Part Examined and View Position are often empty, wrong or in the local language; descriptions then say what
was done. Words are compared in capitals without accents. Western words match whole, so that "RIB" is not found
in "DISTRIBUTION"; scripts without spaces match anywhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

REGIONS: Mapping[str, tuple[str, ...]] = {
    "CHEST": (
        "CHEST", "CXR", "THORAX", "THORAKS", "TORAX", "TORACE", "TORACICA", "THORACIQUE", "LUNG", "LUNGS", "LUNGE",
        "LUNGEN", "LUNGOR", "LUNGER", "LONGEN", "POUMON", "POUMONS", "PULMO", "PULMON", "PULMONES", "PULMAO",
        "POLMONI", "PIERSIOWA", "PIERSIOWEJ", "HRUDNIK", "PLICE", "MELLKAS", "KEUHKOT", "BROSTKORG", "AKCIGER",
        "GOGUS", "NGUC", "PHOI", "DADA", "ГРУДН", "ОГК", "ЛЕГКИ", "ΘΩΡΑΚ", "胸部", "胸片", "흉부", "가슴",
        "صدر", "חזה", "ทรวงอก",
    ),
    "ABDOMEN": ("ABDOMEN", "ABD", "ABDOMINAL", "KUB", "BAUCH", "BUIK", "ADDOME", "ABDOME", "БРЮШН", "腹部", "복부"),
    "SPINE": (
        "SPINE", "CSPINE", "TSPINE", "LSPINE", "SSPINE", "CTSPINE", "TLSPINE", "LSSPINE", "HWS", "BWS", "LWS",
        "WIRBELSAULE", "RACHIS", "COLUMNA", "COLONNA", "COLUNA", "VERTEBRA", "SACRUM", "COCCYX", "SCOLIOSIS",
        "ПОЗВОНОЧН", "脊柱", "脊椎", "腰椎", "頚椎", "颈椎", "胸椎",
    ),
    "RIBS": ("RIB", "RIBS", "RIBCAGE", "RIPPEN", "RIBBEN", "COTES", "COSTILLAS", "COSTE", "STERNUM", "肋骨"),
    "SHOULDER": ("SHOULDER", "CLAVICLE", "SCAPULA", "SCHULTER", "EPAULE", "HOMBRO", "SPALLA", "OMBRO", "肩"),
    "ARM": (
        "ARM", "HUMERUS", "ELBOW", "FOREARM", "WRIST", "HAND", "FINGER", "THUMB", "UPPER EXTREMITY", "ELLENBOGEN",
        "HANDGELENK", "COUDE", "POIGNET", "DOIGT", "CODO", "MUNECA", "MANO", "DEDO", "RADIUS", "ULNA",
    ),
    "LEG": (
        "LEG", "HIP", "FEMUR", "KNEE", "TIBIA", "FIBULA", "ANKLE", "FOOT", "TOE", "HEEL", "CALCANEUS", "EXTREMITY",
        "LOWER EXTREMITY", "HUFTE", "HUEFTE", "KNIE", "FUSS", "HANCHE", "GENOU", "CHEVILLE", "PIED", "CADERA",
        "RODILLA", "TOBILLO", "PIE", "PATELLA", "膝", "足",
    ),
    "PELVIS": ("PELVIS", "BECKEN", "BASSIN", "BACINO", "BACIA", "ТАЗ", "骨盤", "骨盆"),
    "HEAD": (
        "HEAD", "SKULL", "SINUS", "SINUSES", "JAW", "MANDIBLE", "TEETH", "TOOTH", "DENTAL", "ORBIT", "ORBITS",
        "NASAL", "FACE", "ZYGOMA", "TMJ", "KOPF", "SCHADEL", "CRANE", "CRANEO", "CRANIO", "ZAHN", "ZAHNE", "頭部",
    ),
    "NECK": ("NECK", "LARYNX", "HALS", "COU", "CUELLO", "COLLO"),
    "BREAST": ("BREAST", "MAMMA", "MAMMO", "MAMMOGRAPHY", "BRUST", "乳房"),
    "WHOLE BODY": ("WHOLEBODY", "WHOLE BODY", "BABYGRAM", "SKELETON", "SKELETAL"),
    "PHANTOM": ("PHANTOM", "QC", "QA", "TESTPATTERN", "FLATFIELD", "CALIBRATION"),
}  # fmt: skip
"""Region → words. A chest word wins no argument: a text may name several regions."""

REGION_CODES: Mapping[str, str] = {
    "816094009": "CHEST", "51185008": "CHEST", "43799004": "CHEST", "T-D3000": "CHEST",
    "39607008": "CHEST", "T-28000": "CHEST",
    "818981001": "ABDOMEN", "113345001": "ABDOMEN", "T-D4000": "ABDOMEN",
    "421060004": "SPINE", "122495006": "SPINE", "113197003": "RIBS", "T-11300": "RIBS",
}  # fmt: skip
"""Anatomic Region codes (SCT and the older SRT, PS3.16 CID 4009) → region."""

VIEWS: Mapping[str, tuple[str, ...]] = {
    "PA": ("PA", "P A", "POSTEROANTERIOR", "POSTERO ANTERIOR"),
    "AP": ("AP", "A P", "ANTEROPOSTERIOR", "ANTERO POSTERIOR"),
    "FRONTAL": ("FRONTAL", "FRONTALE", "FACE", "正位", "正面"),
    "LATERAL": (
        "LAT", "LATERAL", "LATERALE", "LL", "RL", "LLAT", "RLAT", "SEITLICH", "PROFIL", "PERFIL", "PROFILE",
        "LATEROLATERAL", "БОКОВ", "側面", "侧位",
    ),
    "DECUBITUS": ("DECUBITUS", "DECUB", "LLD", "RLD"),
    "OBLIQUE": ("OBLIQUE", "OBL", "LLO", "RLO", "LAO", "RAO", "LPO", "RPO", "SCHRAG"),
    "LORDOTIC": ("LORDOTIC", "APICAL", "APICES"),
}  # fmt: skip

VIEW_CODES: Mapping[str, str] = {
    "272479007": "PA", "R-10214": "PA", "399348003": "AP", "R-10206": "AP", "399033003": "FRONTAL",
    "399173006": "LATERAL", "R-10236": "LATERAL", "399198007": "LATERAL", "R-10232": "LATERAL",
}  # fmt: skip
"""View codes (PS3.16 CID 4010) → view."""

FRONTAL_VIEWS = frozenset({"PA", "AP", "FRONTAL"})

ANIMAL_WORDS = (
    "CANINE", "FELINE", "EQUINE", "BOVINE", "AVIAN", "VETERINARY", "VETERINARIAN", "VETERINAIRE", "TIERARZT",
    "TIERKLINIK", "VETERINARIO",
)  # fmt: skip

PROCESSED_TWIN_WORDS = (
    "BONE SUPPRESSION", "BONE SUPPRESSED", "BONESUPPRESSION", "BONE SUPP", "SOFT TISSUE", "DUAL ENERGY",
    "EDGE ENHANCED", "EDGE ENHANCEMENT", "TEMPORAL SUBTRACTION", "BS IMAGE",
)  # fmt: skip


_NO_LETTERS = re.compile(r"[\W\d_]+")


def plain(text: str) -> str:
    """Capitals, no accents, single spaces, signs and digits away, a space at both ends."""
    decomposed = unicodedata.normalize("NFKD", text.upper())
    letters = "".join(char for char in decomposed if not unicodedata.combining(char))
    composed = unicodedata.normalize("NFC", letters)
    return f" {_NO_LETTERS.sub(' ', composed).strip()} "


def contains(text: str, words: tuple[str, ...]) -> bool:
    """Whether a :func:`plain` text has one of the words."""
    return any((f" {word} " if word.isascii() else word) in text for word in words)


def named(text: str, vocabulary: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    """Keys of ``vocabulary`` that the text names."""
    prepared = plain(text)
    return frozenset(key for key, words in vocabulary.items() if contains(prepared, words))
