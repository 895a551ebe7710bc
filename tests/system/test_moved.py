"""A machine with a new lease, in a whole daemon: followed, shown, and put into the file."""

import json
from ipaddress import IPv4Interface

import pytest

from agent.demo.child import start_python
from agent.settings import load_settings

pytestmark = [pytest.mark.system, pytest.mark.timeout(60)]

# The daemon as it is, but for the patience with which it looks.
RUN = (
    "import sys; from functools import partial; from agent import assembly, follower;"
    "pace = follower.Pace(lost_s=1.0, check_s=0.2, step_s=0.02, rest_s=2.0);"
    "assembly.Follower = partial(follower.Follower, pace=pace);"
    "from agent.cli import main; main(sys.argv[1:])"
)


def test_a_machine_that_has_moved_is_followed_and_written_where_it_is(site) -> None:
    site.start_farm(3)
    machine = site.ready["machines"][0]
    address, port = machine["address"], machine["port"]
    network = IPv4Interface(f"{address}/28").network
    now, was = f"luxos://{address}", f"luxos://{network[-2]}"
    # The file knows the first machine by an address at which nobody is.
    site.change_config(f'"{now}:{port}"', f'"{was}:{port}"')
    site.config.write_text(site.config.read_text() + f'\n[discovery]\nnetworks = ["{network}"]\n')
    arguments = ("-c", RUN, "run", "--config", str(site.config))
    agent = site.stack.enter_context(start_python(site.directory, "agent", *arguments))
    agent.wait_for(site._agent_answers, 30.0, "the agent did not come up")

    def row():
        rows = {one["miner_id"]: one for one in site.api("miners")}
        return rows[site.name_of(0)]

    site.wait_for(lambda: row()["activity"] == "hashing", 25.0, "the machine was not followed")
    assert (row()["address"], row()["moved_from"]) == (now, f"{was}:{port}")
    assert row()["fault"] is None
    assert f"(was {was}:{port})" in site.kwota("miners").stdout

    command = ("discover", str(network), "--port", "80=1", "--write", str(site.config), "--json")
    done = site.kwota(*command)
    assert done.returncode == 0, done.stderr
    moved = f"{site.name_of(0)} has moved from {was}:{port} to {now}."
    assert json.loads(done.stdout)["written"] == {"added": [], "moved": [moved], "refused": []}
    assert load_settings(site.config).miners[0].uri == now
