"""The cases foreign_packages.py writes, by family."""

from . import constexprs, elementwise, linear, normalise, shapes

FAMILIES = [elementwise.FAMILY, linear.FAMILY, normalise.FAMILY, shapes.FAMILY, constexprs.OLD, constexprs.NEW]
