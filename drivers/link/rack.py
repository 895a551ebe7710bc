"""The one rack of buses: units of one endpoint share a connection, whoever opens them."""

from drivers.link.modbus import BusRack

SHARED_RACK = BusRack()
