"""What several parts of the package must agree on."""

IGNORE_INDEX = 255  # label of pixels that belong to no class; what masks are padded with
POSITION_GRID = 256  # cells a side of the grid that says where in its image a pixel was
