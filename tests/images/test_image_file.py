"""Pictures to files: the settings inside, blank ones found, whole files and the same bytes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage

from batchgen.config.job import ImageFormat, ImagesConfig
from batchgen.config.settings import Settings
from batchgen.errors import ImageError, StorageError
from batchgen.images.blank import blank_reason
from batchgen.images.image_file import encode, parameters_of, pixel_sha256, read_pixels, save
from batchgen.images.parameters import parameters_text, settings_of

PIXELS: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (64, 72, 3), dtype=np.uint8)
FORMATS = list(ImageFormat)


def settings(**changed: Any) -> Settings:
    """Return the settings of one image."""
    base = {
        "prompt": "a cat",
        "prompt_2": None,
        "negative_prompt": "",
        "seed": 123,
        "steps": 30,
        "guidance_scale": 5.0,
        "width": 72,
        "height": 64,
        "scheduler": "dpmpp_2m_karras",
    }
    return Settings(**{**base, **changed})


def text_of(model: str = "sdxl-base", **changed: Any) -> str:
    """Return the `parameters` text of an image."""
    return parameters_text(settings(**changed), model, "31e35c80fc4829d1")


def as_viewers_read(parameters: str) -> tuple[str, str, dict[str, str]]:
    """Return prompt, negative prompt and pairs as AUTOMATIC1111's `parse_generation_parameters`."""
    *lines, last = parameters.strip().split("\n")
    pairs = re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', last)
    if len(pairs) < 3:
        lines, pairs = [*lines, last], []
    prompts: dict[bool, list[str]] = {False: [], True: []}
    is_negative = False
    for line in map(str.strip, lines):
        is_negative = is_negative or line.startswith("Negative prompt:")
        prompts[is_negative].append(line.removeprefix("Negative prompt:").strip())
    values = {key: json.loads(v) if v.startswith('"') else v for key, v in pairs}
    return "\n".join(prompts[False]), "\n".join(prompts[True]), values


def test_the_text_is_the_one_viewers_know() -> None:
    """Prompt, negative prompt, and one line of pairs."""
    pairs = (
        "Steps: 30, Sampler: DPM++ 2M Karras, CFG scale: 5.0, Seed: 123, Size: 72x64, "
        "Model hash: 31e35c80fc, Model: sdxl-base, RNG source: numpy-PCG64"
    )
    assert text_of(negative_prompt="blurry").split("\n") == [
        "a cat",
        "Negative prompt: blurry",
        pairs,
    ]


def test_an_empty_negative_prompt_has_no_line() -> None:
    """Two lines are left."""
    assert len(text_of().split("\n")) == 2


@pytest.mark.parametrize("key", ["model", "prompt_2"])
@pytest.mark.parametrize("value", ["a, b: c", 'say "cat"', "plain", "猫, 犬"])
def test_a_value_with_a_comma_or_colon_is_a_json_string(key: str, value: str) -> None:
    """So that the pairs after it are still pairs."""
    text = text_of(**{key: value})
    _, _, pairs = as_viewers_read(text)
    assert pairs["Model" if key == "model" else "Prompt 2"] == value
    assert pairs["RNG source"] == "numpy-PCG64"
    assert (json.dumps(value, ensure_ascii=False) in text) == (value != "plain")


@pytest.mark.parametrize("field", ["prompt", "negative_prompt", "prompt_2"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x85", "\u2028"])
def test_a_prompt_cannot_forge_settings_with_line_breaks(field: str, newline: str) -> None:
    """The steps and the seed are those of the image, whatever a prompt says."""
    attack = f"a cat{newline}Negative prompt: x{newline}Steps: 1, Sampler: Euler, CFG scale: 1"
    text = text_of(**{field: f"{attack}, Seed: 666, Size: 8x8{newline}"})
    _, negative, pairs = as_viewers_read(text)
    assert (pairs["Steps"], pairs["Seed"], pairs["Size"]) == ("30", "123", "72x64")
    assert (negative == "") == (field != "negative_prompt")
    assert len(text.splitlines()) == text.count("\n") + 1


def test_control_characters_become_spaces() -> None:
    """Nothing that a terminal or a C string trips over is left."""
    text = text_of(prompt="a\x00b\x1b[31mc\x7fd\te")
    assert text.split("\n")[0] == "a b [31mc d e"


def test_a_prompt_that_begins_like_a_negative_one_stays_the_prompt() -> None:
    """`Negative prompt: none` may be a prompt."""
    prompt, negative, _ = as_viewers_read(text_of(prompt="Negative prompt: dull"))
    assert negative == ""
    assert "dull" in prompt


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"negative_prompt": "blurry, dark: yes"},
        {"prompt_2": 'a "drawing", 猫'},
        {"prompt": "Steps: 1, Sampler: Euler, Seed: 2", "seed": 2**63 - 1},
        {"guidance_scale": 0.1, "scheduler": "pndm"},
        {"clip_skip": 1, "guidance_rescale": 0.7, "cfg_cutoff": 0.55},
        {"timestep_spacing": "trailing", "long_prompt": "chunk", "weighting": True},
        {"prompt": "a cat\n\na dog", "negative_prompt": "ugly\nNegative prompt: dull\nSteps: 3"},
        {"prompt": "Negative prompt: dull\n \u200bNegative prompt: x\n\u3000Negative prompt: y"},
        {"prompt": " a cat ", "negative_prompt": "\nugly\r\nvery\x0b, \u2028"},
        {"prompt_2": "a\nb\tc\u2028", "guidance_scale": 7.099999904632568},
        {"guidance_rescale": 0.699999988079071, "cfg_cutoff": 0.5},
    ],
)
def test_settings_come_back_from_the_text(changed: dict[str, Any]) -> None:
    """What was made can be made again from the image file alone."""
    assert settings_of(text_of(**changed)) == (settings(**changed), "sdxl-base")


def test_lines_and_numbers_are_shown_as_people_wrote_them() -> None:
    """Line breaks stay, and a float32 of 7.1 is 7.1."""
    text = text_of(
        prompt="a lighthouse,\nat dusk",
        negative_prompt="ugly\nblurry",
        guidance_scale=7.099999904632568,
    )
    prompt, negative, pairs = as_viewers_read(text)
    assert (prompt, negative) == ("a lighthouse,\nat dusk", "ugly\nblurry")
    assert (pairs["CFG scale"], pairs["Single precision"]) == ("7.1", "CFG scale")
    assert "Exact prompt" not in pairs


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a cat",
        "a cat\nSteps: 30",
        "a\nSteps: x, Size: 1x1, Seed: ",
        f'{text_of()}, Lora hashes: "a: b',
        f'{text_of()}, Hashes: "a\\q"',
    ],
)
def test_a_text_that_says_too_little_is_refused(text: str) -> None:
    """Or says it in quotes that do not close; it is shown."""
    with pytest.raises(ImageError, match="cannot be read"):
        settings_of(text)


@pytest.mark.parametrize("changed", [{"width": 10**6}, {"steps": -1}, {"guidance_scale": 1e9}])
def test_a_number_that_no_image_has_is_refused(changed: dict[str, Any]) -> None:
    """A picture from elsewhere must not ask for a terabyte of pixels."""
    with pytest.raises(ImageError, match=f"cannot be used: {next(iter(changed))}="):
        settings_of(text_of(**changed))


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("prompt", ["a cat", "naïve café", "一只猫 🐈", "x" * 8000])
def test_the_text_comes_back_from_every_format(
    tmp_path: Path, image_format: ImageFormat, prompt: str
) -> None:
    """Latin, Chinese, emoji, and the longest prompt there may be."""
    path, text = tmp_path / f"0.{image_format.value}", text_of(prompt=prompt)
    save(path, PIXELS, text, ImagesConfig(format=image_format))
    assert parameters_of(path) == text


@pytest.mark.parametrize("image_format", [ImageFormat.jpeg, ImageFormat.webp])
def test_a_text_too_long_for_exif_is_an_error_of_the_image(image_format: ImageFormat) -> None:
    """The message names the way out; PNG has room."""
    text = text_of(prompt="x" * 40_000)
    with pytest.raises(ImageError, match="images=png"):
        encode(PIXELS, text, ImagesConfig(format=image_format))
    assert encode(PIXELS, text, ImagesConfig())


def test_a_picture_of_others_without_settings_has_none(tmp_path: Path) -> None:
    """No text is no error."""
    for suffix in ("png", "jpg", "webp"):
        PillowImage.fromarray(PIXELS).save(tmp_path / f"0.{suffix}")
        assert parameters_of(tmp_path / f"0.{suffix}") is None


@pytest.mark.parametrize("image_format", list(ImageFormat))
def test_a_damaged_file_is_an_os_error_at_worst(tmp_path: Path, image_format: ImageFormat) -> None:
    """Pillow raises whatever its decoders run into."""
    whole = encode(PIXELS, "a cat 猫", ImagesConfig(format=image_format))
    chance = np.random.default_rng(1)
    path = tmp_path / "damaged"
    for _ in range(400):
        content = bytearray(whole)
        for at in chance.integers(0, min(300, len(content)), chance.integers(1, 4)):
            content[at] = chance.integers(256)
        path.write_bytes(content)
        for read in (parameters_of, read_pixels):
            with contextlib.suppress(OSError), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's own, of what it passes over
                read(path)


@pytest.mark.parametrize(
    "config",
    [ImagesConfig(), ImagesConfig(compress_level=9), ImagesConfig(format=ImageFormat.webp)],
)
def test_lossless_formats_give_the_pixels_back(tmp_path: Path, config: ImagesConfig) -> None:
    """PNG, and WebP as it comes."""
    save(tmp_path / "0.img", PIXELS, text_of(), config)
    assert (read_pixels(tmp_path / "0.img") == PIXELS).all()


def test_quality_matters_where_the_format_loses() -> None:
    """JPEG, and WebP once it may."""
    for lossy in (
        {"format": ImageFormat.jpeg},
        {"format": ImageFormat.webp, "lossless": False},
    ):
        sizes = [len(encode(PIXELS, "", ImagesConfig(**lossy, quality=q))) for q in (20, 95)]
        assert sizes[0] < sizes[1]


@pytest.mark.parametrize("image_format", FORMATS)
def test_the_same_picture_gives_the_same_bytes(tmp_path: Path, image_format: ImageFormat) -> None:
    """A resumed job ends with the files of one that was never stopped."""
    config = ImagesConfig(format=image_format)
    first = save(tmp_path / "0", PIXELS, text_of(), config)
    second = save(tmp_path / "1", PIXELS.copy(), text_of(), config)
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()
    assert first == second


def test_what_save_says_of_a_file_is_so(tmp_path: Path) -> None:
    """Both hashes and the size."""
    (tmp_path / "images").mkdir()
    saved = save(tmp_path / "images" / "00000" / "0.png", PIXELS, text_of(), ImagesConfig())
    content = (tmp_path / "images" / "00000" / "0.png").read_bytes()
    assert saved.file_sha256 == hashlib.sha256(content).hexdigest()
    assert saved.pixel_sha256 == hashlib.sha256(PIXELS.tobytes()).hexdigest()
    assert saved.size_bytes == len(content)


def test_a_file_names_no_folder_no_host_and_no_time(tmp_path: Path) -> None:
    """Only the settings are inside."""
    save(tmp_path / "0.png", PIXELS, text_of(), ImagesConfig())
    with PillowImage.open(io.BytesIO((tmp_path / "0.png").read_bytes())) as picture:
        picture.load()
        assert set(picture.info) == {"parameters"}


def test_the_pixel_hash_is_of_the_picture_not_of_its_layout() -> None:
    """A view with other strides has the same pixels."""
    assert pixel_sha256(PIXELS[::-1][::-1]) == pixel_sha256(PIXELS)
    assert pixel_sha256(PIXELS[::-1]) != pixel_sha256(PIXELS)


def test_an_image_is_replaced_whole_and_leaves_no_debris(tmp_path: Path) -> None:
    """One file before, one file after."""
    save(tmp_path / "0.png", PIXELS, "old", ImagesConfig())
    save(tmp_path / "0.png", PIXELS[::-1], "new", ImagesConfig())
    assert [path.name for path in tmp_path.iterdir()] == ["0.png"]
    assert parameters_of(tmp_path / "0.png") == "new"


def test_a_save_that_fails_leaves_no_debris_and_names_the_file(tmp_path: Path) -> None:
    """Here a folder stands where the image should be."""
    (tmp_path / "0.png").mkdir()
    with pytest.raises(StorageError, match=r"0\.png"):
        save(tmp_path / "0.png", PIXELS, "", ImagesConfig())
    assert [path.name for path in tmp_path.iterdir()] == ["0.png"]


def test_a_picture_is_no_blank() -> None:
    """One pixel of another shade is enough."""
    pixels = np.zeros((64, 64, 3), dtype=np.uint8)
    pixels[63, 63, 2] = 1
    assert blank_reason(pixels, is_finite=True) is None
    assert blank_reason(PIXELS, is_finite=True) is None


@pytest.mark.parametrize(
    ("colour", "is_finite", "reason"),
    [
        ((0, 0, 0), True, "it is all black"),
        ((255, 255, 255), True, "it is all one colour, RGB (255, 255, 255)"),
        ((0, 0, 7), True, "it is all one colour, RGB (0, 0, 7)"),
        ((0, 0, 0), False, "the VAE gave NaN or infinity"),
    ],
)
def test_a_blank_picture_is_found(
    colour: tuple[int, int, int], is_finite: bool, reason: str
) -> None:
    """Black, of one colour, or not finite; the reason says which."""
    pixels = np.full((64, 64, 3), colour, dtype=np.uint8)
    assert blank_reason(pixels, is_finite=is_finite) == reason


def test_a_picture_that_was_not_finite_is_blank_whatever_it_shows() -> None:
    """Rounding makes something of a NaN."""
    assert blank_reason(PIXELS, is_finite=False)


def test_settings_that_are_rare_are_named_only_where_they_are_not_the_default() -> None:
    """Clip skip as viewers count it: SDXL's own layer is the second from the end."""
    assert "Clip skip" not in text_of()
    assert "CFG cutoff" not in text_of()
    assert "Clip skip: 3" in text_of(clip_skip=1)
    assert "CFG cutoff: 0.5" in text_of(cfg_cutoff=0.5)
