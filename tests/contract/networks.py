"""Small networks for the jobs of the rows."""

from ptapp_vision.models.unet import UNet


class SmallUNet(UNet):
    """A checkpoint of the built-in one takes 128 MB."""

    def __init__(self, *, classes: int, channels: int) -> None:
        super().__init__(classes=classes, channels=channels, widths=(16, 32, 64), stochastic_depth=0.1)
