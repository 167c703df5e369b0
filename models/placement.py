"""Where the source image lies in the network's input: needed to prepare an image, and to lay a heat map over it."""

from __future__ import annotations

from dataclasses import dataclass

from models.metadata import InputSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where the source image lies in the network's input, to and fro.

    Coordinates are continuous (column, row) with (0, 0) at the outer corner of the first pixel, on both
    sides, so a pixel's centre is at + 0.5: input = source * scale + offset.

    Attributes
    ----------
    rows, columns : int
        Size of the source matrix.
    height, width : int
        Size of the network's input.
    scale_row, scale_column : float
        Input pixels per source pixel; they differ where source pixels are not square and where the fit stretches.
    offset_row, offset_column : float
        Input coordinate of the source's first corner; whole numbers >= 0 in a letterbox, <= 0 in a centre crop.
    """

    rows: int
    columns: int
    height: int
    width: int
    scale_row: float
    scale_column: float
    offset_row: float
    offset_column: float

    @classmethod
    def of(cls, rows: int, columns: int, spec: InputSpec, *, pixel_aspect: float = 1.0) -> Placement:
        """Where the spec's own fit puts an image of this size.

        Parameters
        ----------
        pixel_aspect : float
            Height of a source pixel divided by its width.
        """
        if spec.fit == "centre_crop":
            return cls.centre_crop(rows, columns, spec, pixel_aspect=pixel_aspect)
        if spec.fit == "stretch":
            return cls.stretch(rows, columns, spec)
        return cls.letterbox(rows, columns, spec, pixel_aspect=pixel_aspect)

    @classmethod
    def letterbox(cls, rows: int, columns: int, spec: InputSpec, *, pixel_aspect: float = 1.0) -> Placement:
        """Fit the whole image, centred, aspect ratio kept."""
        tall = rows * pixel_aspect
        scale = min(spec.height / tall, spec.width / columns)
        height = min(spec.height, max(1, round(tall * scale)))
        width = min(spec.width, max(1, round(columns * scale)))
        return cls(
            rows=rows,
            columns=columns,
            height=spec.height,
            width=spec.width,
            scale_row=height / rows,
            scale_column=width / columns,
            offset_row=(spec.height - height) // 2,
            offset_column=(spec.width - width) // 2,
        )

    @classmethod
    def centre_crop(cls, rows: int, columns: int, spec: InputSpec, *, pixel_aspect: float = 1.0) -> Placement:
        """Fill the input with the largest part in the middle of the image that has its proportions."""
        proportion = spec.width / spec.height * pixel_aspect  # columns of the source per row of the source
        height = min(rows, max(1, round(columns / proportion)))
        width = min(columns, max(1, round(rows * proportion)))
        scale_row, scale_column = spec.height / height, spec.width / width
        return cls(
            rows=rows,
            columns=columns,
            height=spec.height,
            width=spec.width,
            scale_row=scale_row,
            scale_column=scale_column,
            # The halves are rounded down one by one, as torchxrayvision does: an odd rest makes a pixel's difference.
            offset_row=-(rows // 2 - height // 2) * scale_row,
            offset_column=-(columns // 2 - width // 2) * scale_column,
        )

    @classmethod
    def stretch(cls, rows: int, columns: int, spec: InputSpec) -> Placement:
        """Fill the input with the whole image, whatever becomes of its proportions."""
        return cls(
            rows=rows,
            columns=columns,
            height=spec.height,
            width=spec.width,
            scale_row=spec.height / rows,
            scale_column=spec.width / columns,
            offset_row=0,
            offset_column=0,
        )

    @property
    def fitted(self) -> tuple[int, int]:
        """(height, width) of the whole image on the scale of the input; larger than the input where it is cropped."""
        return round(self.rows * self.scale_row), round(self.columns * self.scale_column)

    @property
    def seen(self) -> tuple[slice, slice]:
        """Rows and columns of the source that the network sees."""
        top, left = (round(max(0.0, -o / s)) for o, s in self._axes)
        return (
            slice(top, min(self.rows, top + round(self.height / self.scale_row))),
            slice(left, min(self.columns, left + round(self.width / self.scale_column))),
        )

    @property
    def filled(self) -> tuple[slice, slice]:
        """Rows and columns of the input that show the source; the rest is black."""
        height, width = self.fitted
        top, left = (round(max(0.0, o)) for o, _ in self._axes)
        return slice(top, min(self.height, top + height)), slice(left, min(self.width, left + width))

    @property
    def _axes(self) -> tuple[tuple[float, float], tuple[float, float]]:
        return (self.offset_row, self.scale_row), (self.offset_column, self.scale_column)

    def to_input(self, column: float, row: float) -> tuple[float, float]:
        """(column, row) of a source point in the network's input."""
        return column * self.scale_column + self.offset_column, row * self.scale_row + self.offset_row

    def to_source(self, column: float, row: float) -> tuple[float, float]:
        """(column, row) of an input point in the source; outside the source where the input is letterbox."""
        return (column - self.offset_column) / self.scale_column, (row - self.offset_row) / self.scale_row

    def feature_to_source(self, column: float, row: float, *, height: int, width: int) -> tuple[float, float]:
        """(column, row) in the source of a point of a (height, width) feature map over the whole input."""
        return self.to_source(column * self.width / width, row * self.height / height)
