"""What a converter knows of a collection, as data: which files are cases, what their label values mean, who to cite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """A CSV of the owner's that says which patients belong to a domain, and which frames of theirs are cases.

    Attributes:
        file: pattern of its path.
        case: column with the patient.
        column: column that says the domain, and
        value: what stands there.
        frames: what a frame is called in the case's name -> column with its number, from 0.
    """

    file: str
    case: str
    column: str
    value: str
    frames: Mapping[str, str]


@dataclass(frozen=True)
class Part:
    """Files of a domain that lie together.

    Patterns are paths below INPUT: {case} is the case, the same wherever it stands; * is anything within a name, **/
    any folders or none; .nii.gz may as well be .nii. Several files of one pattern are the slices of one case.

    Attributes:
        images: pattern of the images.
        labels: patterns of the labels, of which one fits; none: without labels.
        case: regular expression of {case}.
        name: what the case is called in the datasets, with {case}.
        test: these are the owner's held-out cases: they go to imagesTs.
        cases: the cases that belong to the domain; none given: all.
        optional: the part may be absent.
        unlabelled: a case may lack its label.
    """

    images: str
    labels: tuple[str, ...] = ()
    case: str = r"[\w.-]+?"
    name: str = "{case}"
    test: bool = False
    cases: frozenset[str] = frozenset()
    optional: bool = False
    unlabelled: bool = False


@dataclass(frozen=True)
class Repair:
    """Headers that are wrong in plane: where the spacing is above a limit (mm), it is multiplied with a factor."""

    above: float
    factor: float
    why: str


@dataclass(frozen=True)
class Domain:
    """One side of a pair.

    Attributes:
        dataset: its part of the dataset's name.
        channel: name of nnU-Net's channel 0; CT means Hounsfield units.
        parts: where its files lie.
        values: value in the label files -> class, 0 for what is not segmented; a pair of values is a range, ends
            included. Any other value is an error.
        test: cases (as named in the datasets) that papers hold out: they go to imagesTs.
        split: set of the papers, such as validation -> cases, for the split's file; these stay where they are.
        table: limits the cases, and says frames.
        repair: of headers.
    """

    dataset: str
    channel: str
    parts: tuple[Part, ...]
    values: Mapping[int | tuple[int, int], int]
    test: frozenset[str] = frozenset()
    split: Mapping[str, frozenset[str]] = field(default_factory=dict)
    table: Table | None = None
    repair: Repair | None = None

    @property
    def labelled(self) -> bool:
        return any(part.labels for part in self.parts)


@dataclass(frozen=True)
class Collection:
    """What can be converted under one name.

    Attributes:
        title: in a few words.
        download: what to get where, and how to lay it below INPUT.
        classes: class -> label in the datasets; background is 0.
        domains: name -> domain.
        source, target: the pair that is made without options.
        split: where the split comes from; what is held out, or that papers share none.
        licence, citation: a note.
        orientation: that images and labels are turned to (without interpolation), so that left is left in both
            domains; None: as stored, for oblique stacks of slices.
        same_patients: the domains are images of the same patients: every other patient is source, the rest target.
        skip: case -> why it is left out.
        configuration: nnU-Net's, that a benchmark begins with: "2d" for stacks of few thick slices.
    """

    title: str
    download: str
    classes: Mapping[str, int]
    domains: Mapping[str, Domain]
    source: str
    target: str
    split: str
    licence: str
    citation: str
    orientation: str | None = "LPS"
    same_patients: bool = False
    skip: Mapping[str, str] = field(default_factory=dict)
    configuration: str = "3d_fullres"
