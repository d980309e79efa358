"""Texts that tokenizers disagree about, and seeded generators of more."""

# ruff: noqa: RUF001 - letters that look like others are the point

import random
from collections.abc import Callable

SENTENCES = [
    "The quick brown fox jumps over the lazy dog.",
    "I'm sure we'll say they've said it's what you'd do, aren't I? O'CLOCK 'TIS",
    "It'S WE'LL THEY'RE I'M he'd 's 't 're 'ſ 'S",
    "Größe, Straße, naïve café, señor, Ærøskøbing, İstanbul ıİ",
    "Все счастливые семьи похожи друг на друга.",
    "Η γρήγορη καφέ αλεπού πηδάει πάνω από το σκυλί.",
    "הסופר המהיר קפץ מעל הגדר 1948",
    "السلام عليكم ورحمة الله وبركاته ١٢٣٤٥",
    "हिन्दी में एक वाक्य, क्षत्रिय ज्ञान १२३",
    "ภาษาไทยไม่มีช่องว่าง ๑๒๓",
    "吾輩は猫である。名前はまだ無い。カタカナ ｶﾀｶﾅ",
    "从前有座山，山上有座庙。一二三 〇 ①②③",
    "모든 인간은 태어날 때부터 자유로우며 존엄과 권리에 있어 평등하다.",
    "Tiếng Việt có dấu: ữ ự ặ ể",
    "ქართული ენა, հայերեն, አማርኛ, ᏣᎳᎩ, ትግርኛ",
    "𝕳𝖊𝖑𝖑𝖔 𝟙𝟚𝟛 ½ ¾ Ⅷ ⅷ x² H₂O ௰ ፲",
    "family 👨‍👩‍👧‍👦 flag 🏳️‍🌈 🇩🇪🇫🇷 thumbs 👍🏽👍 keycap 1️⃣ heart ❤️‍🔥 🫠",
    "def f(x):\n\treturn {k: v**2 for k, v in x.items() if v >= 0x1F}  # ok\n",
    "for (int i = 0; i < n; ++i) { a[i] += b[i] * 1e-3f; }\r\n\r\n\treturn;\r\n",
    "SELECT * FROM \"t\" WHERE a = 'b' -- c\n\n\n   \t  \n",
    "<|im_start|>user\nhi<|im_end|>\n<|endoftext|> <|begin_of_text|>",
    "   leading, trailing   ",
    "\n\n\n",
    " ",
    "",
    "\t\t \u00a0\u3000\u2003x\u2028y\u2029z\u0085w\u180eq\u200bz\u200d\ufeff",
    "a\u0301 e\u0301\u0323 \u1112\u1161\u11ab ﬁ ﬀ Å Å q\u0307\u0323",
    "123456789 1,234.56 $12.50 50% v1.2.3 2024-01-02T03:04:05Z +49-30-123",
    "!!! ??? ... --- ___ *** ### @@@ &&& ``` ~~~ ^^^ ||| \\\\\\ ///",
    "https://example.org/a?b=c&d=%20e#f user@example.org C:\\dir\\file.txt",
    "\x00\x01\x1b[0m\x7f\x80\x9f\xad",
    "word " * 300,
    " " * 200 + "x" + " " * 77 + "\n" * 33 + "\r\n" * 9,
    "supercalifragilistic" * 20,
]

_BLOCKS = [
    (0x20, 0x7E),
    (0xA0, 0x24F),
    (0x300, 0x36F),
    (0x370, 0x52F),
    (0x590, 0x6FF),
    (0x900, 0xDFF),
    (0xE00, 0xEFF),
    (0x1100, 0x11FF),
    (0x1E00, 0x206F),
    (0x2100, 0x218F),
    (0x3040, 0x30FF),
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3),
    (0x10400, 0x11FFF),
    (0x1D400, 0x1D7FF),
    (0x1F300, 0x1FAFF),
]


def _any_code_point(generator: random.Random) -> str:
    while True:
        code_point = generator.randrange(0x110000)
        if not 0xD800 <= code_point < 0xE000:
            return chr(code_point)


def random_texts(count: int, seed: int) -> list[str]:
    """Strings of up to 40 characters: mixed scripts, white space, anything."""
    generator = random.Random(seed)
    texts = []
    for index in range(count):
        kind = index % 4
        length = generator.randint(1, 40)
        if kind == 0:
            characters = [_any_code_point(generator) for _ in range(length)]
        elif kind == 1:
            characters = [chr(generator.randint(*generator.choice(_BLOCKS))) for _ in range(length)]
        elif kind == 2:
            characters = generator.choices(" \t\r\n\u00a0\u3000ab1,.'-", k=length)
        else:
            pool = "".join(SENTENCES[:31])
            start = generator.randrange(len(pool))
            characters = list(pool[start : start + length])
            generator.shuffle(characters)
        texts.append("".join(characters))
    return texts


def _in_chunks(code_points: list[int], form: Callable[[str], str]) -> list[str]:
    return [
        "".join(form(chr(code_point)) for code_point in code_points[start : start + 512])
        for start in range(0, len(code_points), 512)
    ]


def every_character() -> list[str]:
    """Every code point of the planes in use, between letters, digits and spaces."""
    in_use = [*range(0xD800), *range(0xE000, 0x33480), *range(0xE0000, 0xE0200)]
    return _in_chunks([*in_use, 0xF0000, 0x10FFFF], lambda c: f"a{c}1{c} {c},")


def combining_sequences() -> list[str]:
    """Every character before and after marks of several combining classes."""
    in_use = [*range(0x3200), *range(0xA640, 0xAC00), *range(0xF900, 0x1F000)]
    return _in_chunks(in_use, lambda c: f"e\u0301{c}\u0323{c}\u0334 ")
