"""The one constant that every part shares."""

IGNORE_INDEX = 255  # label of pixels that belong to no class; what masks are padded with
