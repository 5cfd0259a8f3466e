"""A timeline as people read it: turns under names, their corrections, and the forms in which it is written out."""
