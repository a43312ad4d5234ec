"""What the mock edge answers, and what it says of each step."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

MARKDOWN = """\
Blue light is **scattered** about *4.4 times* as strongly as red, so it reaches the eye from every direction.

## How strongly

Scattering grows with the fourth power of the frequency:

| colour | wavelength | relative scattering |
| :-- | --: | --: |
| red | 650 nm | 1.0 |
| green | 530 nm | 2.3 |
| blue | 450 nm | 4.4 |

1. Sunlight enters the atmosphere.
2. Molecules of air scatter it:
   - blue a lot,
   - red hardly at all.
3. What is left at sunset is **red**.

> A sky without air is black, even at noon.

The ratio takes one line:

```python
def scattering(wavelength_nm, reference_nm=650):
    return (reference_nm / wavelength_nm) ** 4  # <b>not bold</b>
```

Call `scattering(450)` to try it, or read about [Rayleigh scattering](https://example.org/rayleigh).
"""

HOSTILE = """\
![a picture](https://evil.example/track.png) and ![](//evil.example/2.png)

<img src="https://evil.example/3.png" onerror="alert(1)"><script>alert(2)</script>

<iframe src="https://evil.example/"></iframe> <style>@import "https://evil.example/4.css"</style>

[click](javascript:alert(3)) [data](data:text/html,<script>alert(4)</script>) [tab](java\tscript:alert(5))
[coded](javascript&#58;alert(6)) <javascript:alert(7)> [file](file:///etc/passwd) [good](https://example.org/ "a title")

[![nested](https://evil.example/5.png)](javascript:alert(8))

| <img src=x onerror=alert(9)> | `<script>` |
| --- | --- |
| ![cell](https://evil.example/6.png) | url(https://evil.example/7.png) |

```html "><script>alert(10)</script>
<img src="https://evil.example/8.png">
```
"""

THOUGHTS = "The question is about light. Scattering by molecules goes with the fourth power of the frequency."
WORDS = "the sky is blue because air scatters short waves of light more than long ones and so".split()


def words(tokens: int) -> str:
    """Words in paragraphs of up to 80."""
    picked = [WORDS[i % len(WORDS)] for i in range(tokens)]
    return "\n\n".join(" ".join(picked[start : start + 80]) for start in range(0, tokens, 80))


def one_list(tokens: int) -> str:
    return "- one of **many** items\n" * (tokens // 5)


def one_block_of_code(tokens: int) -> str:
    return "```\n" + "let value = compute(other);\n" * (tokens // 4) + "```"


def tokens_of(text: str) -> list[str]:
    return re.findall(r"\s*\S+\s*$|\s*\S+", text)


@dataclass(frozen=True)
class Step:
    """One round trip: the text that it brought, and the figures of its `split` object."""

    texts: list[str]
    figures: dict


def steps_of(text: str, prompt_rows: int, hidden: int, drafts: bool, replay_at: int) -> Iterator[Step]:
    """An answer's steps. Every sixth brings up to three tokens by drafts; the same text has the same figures."""
    chance = random.Random(len(text))
    left = tokens_of(text)
    number = replays = 0
    codec = "high"
    while left:
        drafted = 3 if drafts and number and number % 6 == 0 else 0
        accepted = min(chance.choice((1, 2, 2, 3)), len(left) - 1) if drafted else 0
        rows = prompt_rows if number == 0 else 1 + drafted
        if replay_at and number == replay_at:
            replays, codec = 1, "economy"
            rows += prompt_rows + number
        edge, cloud = 0.013 + rows * 0.0011, 0.007 + rows * 0.0005
        link = 0.041 * chance.uniform(0.9, 1.3) + rows * 0.0003
        queue = chance.choice((0.0, 0.0, 0.001, 0.004))
        frame = round(rows * hidden * (4.4 if codec == "high" else 2.6) / 8)
        figures = {
            "tokens": 1 + accepted,
            "seconds": edge + 0.0004 + link + queue + cloud,
            "edge_seconds": edge,
            "encode_seconds": 0.0004 * rows,
            "link_seconds": link,
            "queue_seconds": queue,
            "cloud_seconds": cloud,
            "rows": rows,
            "frame_bytes": frame,
            "up_bytes": frame + 64,
            "down_bytes": 58 + 4 * accepted,
            "drafted": drafted,
            "accepted": accepted,
            "codec": codec,
            "replays": replays,
            "round_trip_seconds": None if number == 0 else 0.0405,
            "up_bytes_per_second": None if number == 0 else 1_250_000,
        }
        yield Step(left[: 1 + accepted], figures)
        left = left[1 + accepted :]
        number += 1
