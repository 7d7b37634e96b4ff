"""The broker over MQTT; the only folder here that imports the MQTT client (paho)."""
