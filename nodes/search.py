"""The family of nodes in ComfyUI's menu and search: where each one stands, and by which words it is found."""

from dataclasses import fields

from comfy_api.latest import io

CORRECT = "RS-Corrector"
PREFERENCE_CATEGORY = "RS-Corrector/preferences"
LEARN = "RS-Corrector/learn"
MEASURE = "RS-Corrector/measure"
SEARCH_WORDS = (  # in each language of the pack, because aliases are not translated
    "stereotype", "bias", "debias", "fairness", "diversity", "representation", "inclusive", "skin tone", "ethnicity",
    "race", "african", "people", "portrait",
    "刻板印象", "偏见", "公平", "多样性", "代表性", "包容", "肤色", "民族", "种族", "非洲", "人物", "肖像",
    "ステレオタイプ", "偏り", "バイアス", "公平性", "多様性", "インクルーシブ", "肌の色", "人種", "アフリカ",
    "ポートレート",
    "stéréotype", "biais", "équité", "diversité", "représentation", "inclusif", "couleur de peau", "ethnie",
    "africain", "personnes",
    "estereotipo", "sesgo", "equidad", "diversidad", "representación", "inclusivo", "tono de piel", "etnia", "raza",
    "africano", "personas", "retrato",
    "estereótipo", "viés", "equidade", "diversidade", "representação", "tom de pele", "raça", "pessoas",
)  # fmt: skip


def found_by(*words: str) -> dict[str, list[str]]:
    """{search_aliases: words}, or {} in versions of ComfyUI whose Schema lacks the field, which would lose the pack."""
    has_field = any(field.name == "search_aliases" for field in fields(io.Schema))
    return {"search_aliases": list(dict.fromkeys(words))} if has_field else {}
