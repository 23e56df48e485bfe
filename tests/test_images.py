"""Decoding: Pillow's RGB conversion, and a clear OSError that names the file for anything else."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from gcbench.images import MAX_PIXELS, decode

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (9, 13, 3), np.uint8)


def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def palette_with_transparency():
    image = Image.fromarray(PIXELS).quantize(16)
    return encoded(image, "PNG", transparency=bytes(range(0, 256, 16)))


def bomb(side):
    """The start of a PNG of side x side pixels."""

    def chunk(name, content):
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")


@pytest.mark.parametrize(
    "data",
    [
        encoded(Image.fromarray(PIXELS), "PNG"),
        encoded(Image.fromarray(PIXELS), "JPEG"),
        encoded(Image.fromarray(PIXELS).convert("CMYK"), "JPEG"),
        encoded(Image.fromarray(PIXELS).convert("L"), "PNG"),
        encoded(Image.fromarray(PIXELS).convert("1"), "PNG"),
        encoded(Image.fromarray(np.dstack([PIXELS, PIXELS[..., 0]])), "PNG"),
        encoded(Image.fromarray(PIXELS).convert("LA"), "PNG"),
        palette_with_transparency(),
    ],
    ids=["rgb", "jpeg", "cmyk", "grey", "bilevel", "rgba", "grey-alpha", "palette"],
)
def test_decoding_is_pillows_rgb_conversion(data):
    image = decode(data, "x")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = Image.open(io.BytesIO(data)).convert("RGB")
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))


def test_transparency_is_dropped_and_not_composited():
    pixels = np.dstack([PIXELS, np.zeros((9, 13), np.uint8)])
    image = decode(encoded(Image.fromarray(pixels), "PNG"), "x")
    np.testing.assert_array_equal(np.asarray(image), PIXELS)


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    values = np.array([[0, 255, 256, 511], [512, 30000, 65279, 65535]], np.uint16)
    image = decode(encoded(Image.fromarray(values), "PNG"), "x")
    expected = np.repeat((values // 256)[..., None], 3, axis=2)
    np.testing.assert_array_equal(np.asarray(image), expected)


def test_grey_values_beyond_sixteen_bits_are_refused():
    image = Image.fromarray(np.array([[0, 1 << 20]], np.int32))
    with pytest.raises(OSError, match=r"a\.tif cannot be decoded: grey values 0\.\.1048576"):
        decode(encoded(image, "TIFF"), "a.tif")


def test_exif_orientation_is_not_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees for display
    plain = encoded(Image.fromarray(PIXELS), "JPEG")
    rotated = encoded(Image.fromarray(PIXELS), "JPEG", exif=exif)
    assert rotated != plain
    assert decode(rotated, "x").tobytes() == decode(plain, "x").tobytes()


@pytest.mark.filterwarnings("ignore")  # Pillow also warns about the tags of a cut TIFF
@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF"])
def test_truncated_file_is_an_os_error_that_names_it(format):
    whole = encoded(Image.fromarray(PIXELS), format)
    for length in (0, 1, 8, 20, len(whole) // 2):
        with pytest.raises(OSError, match=r"n01440764/a\.JPEG cannot be decoded"):
            decode(whole[:length], "n01440764/a.JPEG")


@pytest.mark.parametrize("seed", range(200))
def test_damaged_file_is_decoded_or_an_os_error_and_nothing_else(seed):
    rng = np.random.default_rng(seed)
    format = ["JPEG", "PNG", "TIFF", "GIF"][seed % 4]
    data = bytearray(encoded(Image.fromarray(PIXELS), format))
    for position in rng.integers(0, len(data), 4):
        data[position] = rng.integers(256)
    message = "damaged cannot be decoded: "
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            assert decode(bytes(data), "damaged").mode == "RGB"
        except OSError as error:
            message = str(error)
    assert message.startswith("damaged cannot be decoded: ")


def test_text_named_as_an_image_is_no_image():
    with pytest.raises(OSError, match=r"a\.JPEG cannot be decoded: not an image of a known format"):
        decode(b"404: not found\n", "a.JPEG")


@pytest.mark.parametrize("side", [9500, 60000])
def test_decompression_bomb_is_refused_before_its_pixels_are_read(side):
    assert side**2 > MAX_PIXELS
    with pytest.raises(OSError, match=r"bomb\.png cannot be decoded: .*pixels"):
        decode(bomb(side), "bomb.png")


def test_decompression_bomb_is_refused_where_pillow_only_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(OSError, match="9500 x 9500 pixels are more than"):
            decode(bomb(9500), "bomb.png")
