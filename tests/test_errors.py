"""What pydantic found wrong, in one sentence."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator

from altub.errors import validation_problem


class Inner(BaseModel):
    side: int = Field(ge=1)


class Outer(BaseModel):
    inner: Inner
    name: str = "x"

    @field_validator("name")
    @classmethod
    def _name_is_short(cls, name: str) -> str:
        if len(name) > 3:
            raise ValueError("Names have three letters at most")
        return name


@pytest.mark.parametrize(
    ("value", "problem", "shown"),
    [
        ({"inner": {"side": 0}}, "inner.side: input should be greater than or equal to 1", " (given: 0)"),
        ({"inner": {}}, "inner.side is missing", ""),
        ({"inner": {"side": 1}, "name": "long"}, "name: names have three letters at most", " (given: 'long')"),
        ({"inner": 3}, "inner: input should be a valid dictionary or instance of Inner", " (given: 3)"),
        ({"inner": [1, 2]}, "inner: input should be a valid dictionary or instance of Inner", " (given: [1, 2])"),
        ([], "input should be a valid dictionary or instance of Outer", ""),
    ],
)
def test_the_first_problem_is_told_with_its_place(value: object, problem: str, shown: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(value)
    assert validation_problem(caught.value) == problem
    assert validation_problem(caught.value, show_input=True) == problem + shown
