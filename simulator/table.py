"""What every table of a farm file is: frozen, and every unknown key a fault."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0.0, le=86_400.0)]


class Table(BaseModel):
    """One table of a farm file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
