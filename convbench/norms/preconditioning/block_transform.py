"""The Fourier transform of images by matrices, the second half of it block by block, and its transposition.

A real matrix along one axis gives an array with the frequencies in front, then images, then what is left of the image:
`(channels, positions)` where channels come first and the columns were transformed, `(positions, channels)` where they
come last and the rows were. From there each block of frequencies is had on its own.
"""

import torch
from torch import Tensor

from convbench.norms.preconditioning.frequency_blocks import Fold, Piece, Window, transform


class BlockTransform:
    """The two halves of the transform, and of the transposed one.

    Args:
        fold: the frequencies.
        window: where the images lie.
        folded: whether they are the output, on its own torus.
        dtype: of the arithmetic.
    """

    def __init__(self, fold: Fold, window: Window, folded: bool, dtype: torch.dtype) -> None:
        self.first, self.second = transform(fold, window, folded, dtype)
        self.dense, self.last, self.dtype = fold.dense, fold.rows_first, dtype
        self.shape = len(window[0]), len(window[1])
        self.left = 1 if fold.dense else len(window[1] if fold.rows_first else window[0])

    def empty(self, images: int, channels: int, spent: Tensor | None = None) -> Tensor:
        """A half transform to be filled block by block: in place of one that is read block by block, if it fits."""
        shape = torch.Size((len(self.first), images, channels * self.left))
        return spent if spent is not None and spent.shape == shape else torch.empty(shape, dtype=self.dtype)

    def spread(self, x: Tensor) -> Tensor:
        """The first half of the transform, `(rows, N, channels * left)`, of x `(N, C, H, W)`."""
        half = self.empty(len(x), x.shape[1])
        for number, image in enumerate(x.unbind()):
            torch.mm(self.first, self._as_matrix(image.to(self.dtype)), out=half[:, number])
        return half

    def analyse(self, half: Tensor, piece: Piece, channels: int) -> Tensor:
        """The spectrum at the frequencies of a piece, real and imaginary part: `(2, size, N, channels)`."""
        shape = (2, piece.size, half.shape[1], channels)
        if self.dense:
            return half[2 * piece.start : 2 * piece.stop].view(shape)
        real, imaginary = self._parts(half, piece, channels)
        of_real, of_imaginary = self._bases(piece)
        if self.last:
            images = half.shape[1]
            values = torch.bmm(of_real.expand(images, -1, -1), real)
            values.baddbmm_(of_imaginary.expand(images, -1, -1), imaginary)
            return values.transpose(0, 1).unflatten(0, (2, piece.size))
        return torch.mm(of_real, real.t()).addmm_(of_imaginary, imaginary.t()).view(shape)

    def synthesise(self, half: Tensor, piece: Piece, spectrum: Tensor) -> None:
        """`analyse` transposed, into its place in `half`."""
        if self.dense:
            half[2 * piece.start : 2 * piece.stop] = spectrum.flatten(0, 1).flatten(2)
            return
        channels = spectrum.shape[-1]
        for part, basis in zip(self._parts(half, piece, channels), self._bases(piece), strict=True):
            if self.last:
                by_image = spectrum.flatten(0, 1).transpose(0, 1)
                torch.bmm(basis.t().expand(len(by_image), -1, -1), by_image, out=part)
            else:
                torch.mm(spectrum.flatten(0, 1).flatten(1).t(), basis, out=part)

    def collect(self, half: Tensor, channels: int, dtype: torch.dtype) -> Tensor:
        """`spread` transposed: images in memory as those that were transformed, `(N, channels, rows, cols)`."""
        memory_format = torch.channels_last if self.last else torch.contiguous_format
        images = torch.empty(half.shape[1], channels, *self.shape, dtype=dtype, memory_format=memory_format)
        for number, image in enumerate(images.unbind()):
            matrix, left, right = self._as_matrix(image), self.first.t(), half[:, number]
            if not self.last:  # its transpose is what lies in memory row by row
                matrix, left, right = matrix.t(), right.t(), left.t()
            if dtype == self.dtype:
                torch.mm(left, right, out=matrix)
            else:
                matrix.copy_(left @ right)
        return images

    def _as_matrix(self, image: Tensor) -> Tensor:
        """`(C, rows, cols)` as a matrix whose first axis is transformed first."""
        if self.last:
            image = image.permute(1, 2, 0)
            return image.flatten(0, 1) if self.dense else image.flatten(1)
        return image.flatten(1).t() if self.dense else image.flatten(0, 1).t()

    def _parts(self, half: Tensor, piece: Piece, channels: int) -> tuple[Tensor, Tensor]:
        images = half.shape[1]
        shape = (images, self.left, channels) if self.last else (images * channels, self.left)
        return half[2 * piece.number].view(shape), half[2 * piece.number + 1].view(shape)

    def _bases(self, piece: Piece) -> tuple[Tensor, Tensor]:
        rows = self.second[2 * piece.start : 2 * piece.stop]
        return rows[:, : self.left], rows[:, self.left :]
