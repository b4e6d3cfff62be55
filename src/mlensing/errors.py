"""What can go wrong with what a user hands in.

::

    MLensingError            every error a user can cause; the command line prints it and exits with 2
    ├── ImageError           one file that cannot be read as a cutout
    ├── CatalogError         an index CSV that cannot be used
    ├── SurveyError          an unknown survey, or a survey file with a bad field
    ├── ContractError        data and model that do not fit together
    └── ConfigError          a setting that is missing, unknown or out of range

A message says where, what was expected and what came, and what to do next.
"""

from __future__ import annotations


class MLensingError(Exception):
    """A mistake in the input, told so that the user can repair it.

    Arguments:
        where: the file, index row or setting at fault.
        problem: what was expected and what came.
        remedy: what to do next.

    Example:
        >>> print(MLensingError("a.fits", "no pixel scale", "Add PIXSCALE to the header."))
        a.fits: no pixel scale. Add PIXSCALE to the header.
    """

    def __init__(self, where: object, problem: str, remedy: str) -> None:
        super().__init__(f"{where}: {problem}. {remedy}")
        self.where, self.problem, self.remedy = str(where), problem, remedy

    def __reduce__(self) -> tuple[type[MLensingError], tuple[str, str, str]]:
        return type(self), (self.where, self.problem, self.remedy)  # crosses worker processes whole


class ImageError(MLensingError):
    """One file that cannot be read as a cutout."""


class CatalogError(MLensingError):
    """An index CSV that cannot be used."""


class SurveyError(MLensingError):
    """An unknown survey, or a survey file with a bad field."""


class ContractError(MLensingError):
    """Data and model that do not fit together."""


class ConfigError(MLensingError):
    """A setting that is missing, unknown or out of range."""
