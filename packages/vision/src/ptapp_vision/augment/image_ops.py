"""Operations on a batch of images in which each image has its own parameter.

Images are uint8 (N, C, H, W), in and out; a parameter has shape (N,). What becomes of an image depends, bit for bit, on
that image and its parameter, never on the others in the batch.
"""

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad

Parameter = Tensor | float  # one for each image, or the same for all


def move(images: Tensor, down: Tensor, right: Tensor, *, flip: Tensor, most: int) -> Tensor:
    """Shows each image from pixel (down, right) on, int64 and within ±most; `flip` (bool) mirrors it first.

    What lies beyond the edge is black. Whole pixels, so this is one gather, several times quicker than `warp`.
    """
    height, width = images.shape[2:]
    padded = pad(images, (most, most, most, most))
    rows = torch.arange(height, device=images.device) + down[:, None]
    columns = torch.arange(width, device=images.device) + right[:, None]
    columns = torch.where(flip[:, None], width - 1 - columns, columns)
    source = (rows[:, :, None] + most) * padded.shape[3] + columns[:, None, :] + most
    source = source.flatten(1)[:, None, :].expand(-1, images.shape[1], -1)
    return padded.flatten(2).gather(2, source).view(images.shape)


def warp(
    images: Tensor,
    *,
    xx: Parameter = 1.0,
    xy: Parameter = 0.0,
    x0: Parameter = 0.0,
    yx: Parameter = 0.0,
    yy: Parameter = 1.0,
    y0: Parameter = 0.0,
) -> Tensor:
    """An affine transform, bilinear: shows at (x, y) what the image has at (xx x + xy y + x0, yx x + yy y + y0).

    Pixels from the centre, x right and y down. What lies beyond the edge is black.
    """
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device) + 0.5 - width / 2
    y = (torch.arange(height, device=images.device) + 0.5 - height / 2)[:, None]
    # Written out: a matrix product may round differently in batches of different size.
    column = (_each(xx) * x + _each(xy) * y + _each(x0)) * (2 / width)
    row = (_each(yx) * x + _each(yy) * y + _each(y0)) * (2 / height)
    grid = torch.stack([part.expand(len(images), height, width) for part in (column, row)], dim=-1)
    return _to_bytes(grid_sample(images.float(), grid, align_corners=False))


def shear_x(images: Tensor, slope: Tensor) -> Tensor:
    """Shifts each row by `slope` times its distance below the centre."""
    return warp(images, xy=slope)


def shear_y(images: Tensor, slope: Tensor) -> Tensor:
    """Shifts each column by `slope` times its distance to the right of the centre."""
    return warp(images, yx=slope)


def translate_x(images: Tensor, share: Tensor) -> Tensor:
    """Shifts to the left, by a share of the width."""
    return warp(images, x0=share * images.shape[3])


def translate_y(images: Tensor, share: Tensor) -> Tensor:
    """Shifts upwards, by a share of the height."""
    return warp(images, y0=share * images.shape[2])


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turns about the centre, anticlockwise."""
    cosine, sine = rotation(degrees)
    return warp(images, xx=cosine, xy=-sine, yx=sine, yy=cosine)


def rotation(degrees: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of up to ±180 degrees, float32.

    Taylor series of an eighth of the angle, doubled three times: a library's own may round an element's last bit in
    another way at another place in the batch.
    """
    angle = degrees * (torch.pi / 180 / 8)
    square = angle * angle
    cosine = 1 - square / 2 * (1 - square / 12 * (1 - square / 30 * (1 - square / 56)))
    sine = angle * (1 - square / 6 * (1 - square / 20 * (1 - square / 42)))
    for _ in range(3):
        cosine, sine = 1 - 2 * sine * sine, 2 * sine * cosine
    return cosine, sine


def erase(images: Tensor, top: Tensor, left: Tensor, *, height: Tensor, width: Tensor, tone: Tensor) -> Tensor:
    """Covers a rectangle (int64, pixels) with a `tone` for each channel, uint8 (N, C)."""
    y = torch.arange(images.shape[2], device=images.device)
    x = torch.arange(images.shape[3], device=images.device)
    rows = (y >= top[:, None]) & (y < (top + height)[:, None])
    columns = (x >= left[:, None]) & (x < (left + width)[:, None])
    inside = rows[:, None, :, None] & columns[:, None, None, :]
    return torch.where(inside, tone[:, :, None, None], images)


def brightness(images: Tensor, change: Tensor) -> Tensor:
    """Multiplies by 1 + `change`."""
    return _to_bytes(images * _spread(1 + change))


def contrast(images: Tensor, change: Tensor) -> Tensor:
    """Makes the pixels' distance from the mean grey of their image 1 + `change` times as large."""
    grey = _grey(images)
    mean = grey.sum(dim=(1, 2, 3)) / grey[0].numel()  # sums of whole numbers, so exact in any order
    return _move_away(images, _spread(mean), change)


def color(images: Tensor, change: Tensor) -> Tensor:
    """Makes the pixels' distance from their own grey 1 + `change` times as large; grey images stay as they are."""
    return _move_away(images, _grey(images).float(), change)


def sharpness(images: Tensor, change: Tensor) -> Tensor:
    """Makes the pixels' distance from the smoothed image 1 + `change` times as large."""
    return _move_away(images, _smooth(images).float(), change)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keeps the `bits` highest bits (1 to 8, rounded) of each pixel."""
    step = 1 << (8 - bits.round().long())
    return images & _spread(256 - step).to(torch.uint8)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Inverts the pixels that are not below `threshold`."""
    return torch.where(images >= _spread(threshold), 255 - images, images)


def _each(parameter: Parameter) -> Parameter:
    return parameter[:, None, None] if isinstance(parameter, Tensor) else parameter


def _spread(parameter: Tensor) -> Tensor:
    return parameter[:, None, None, None]


def _grey(images: Tensor) -> Tensor:
    from torchvision.transforms.v2.functional import rgb_to_grayscale  # takes a second to import

    grey: Tensor = rgb_to_grayscale(images) if images.shape[1] == 3 else images
    return grey


def _smooth(images: Tensor) -> Tensor:
    """The mean of each 3x3 neighbourhood, its centre counted five times; pixels at the border stay."""
    whole = images.to(torch.int16)
    rows = whole[:, :, :-2] + whole[:, :, 1:-1] + whole[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * whole[:, :, 1:-1, 1:-1]
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = ((total + 6) // 13).to(torch.uint8)
    return smooth


def _move_away(images: Tensor, start: Tensor, change: Tensor) -> Tensor:
    return _to_bytes(start + (images - start) * _spread(1 + change))


def _to_bytes(images: Tensor) -> Tensor:
    return (images + 0.5).clamp_(0.0, 255.0).to(torch.uint8)
