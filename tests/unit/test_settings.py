"""Reading the settings: what is wrong is said with its place, what wins over what, secrets from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from iotd.config import Address, Settings, find_config, load
from iotd.model.errors import ConfigError


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "iotd.toml"
    path.write_text("")
    return path


def read(config: Path, text: str, **overrides: Any) -> Settings:
    config.write_text(text)
    return load(config, **overrides)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[sensors]\nintervall = "1s"', "sensors.intervall: no such setting; did you mean 'interval'?"),
        ("[sensor]\nper_type = 1", "sensor: no such setting; did you mean 'sensors'?"),
        ("[logging]\nxyz = 1", "logging.xyz: no such setting; known are level, format"),
        (
            '[topology.shards.salon]\nmastr = "h:1"',
            "topology.shards.salon.mastr: no such setting; did you mean 'master'?",
        ),
        ("[sensors]\nper_type = 'three'", "sensors.per_type: Input should be a valid integer"),
        ("[sensors]\nper_type = 0", "sensors.per_type: Input should be greater than or equal to 1 (given: 0)"),
        ("sensors = 3", "sensors: must be a table"),
        ("[sensors]\ninterval = inf", "sensors.interval: a duration can't be longer than a century"),
        ("[sensors]\ninterval = '1.5ms'", "sensors.interval: the interval must be a whole number of milliseconds"),
        ("[sensors]\ntypes = []", "sensors.types: name at least one sensor type"),
        ("[sensors]\ntypes = ['radon']", "unknown sensor type 'radon'; known are temperature"),
        ("[sensors]\ntypes = ['humidity', 'humidity']", "sensors.types: a sensor type is named twice"),
        ("[types.radon]\nunit = 'bq'\nrange = [5, 5]", "types.radon.range: the first value must be smaller"),
        (
            "[types.radon]\nunit = 'bq'\nrange = [0, 10]\nsimulated = [5, 20]",
            "types.radon: simulated: the values of a gauge must lie within 0 and 10, the smaller one first",
        ),
        (
            "[types.strokes]\nunit = 'stroke'\nkind = 'counter'\nsimulated = [0, 20]",
            "types.strokes: simulated: the values of a counter must be above 0, the smaller one first",
        ),
        ("[sentinel]\npoll_interval = 0", "sentinel.poll_interval: must be 1ms at least"),
        ("[sentinel]\nquorum = 4", "sentinel.quorum: Input should be less than or equal to 3"),
        ("[log]\nmemory = 'much'", "log.memory: could not parse value and unit"),
        ("locations = []", "locations: name at least one location"),
        ("locations = ['salon', 'salon']", "locations: 'salon': a location is named twice"),
        ("locations = ['Salle à manger', 'salle_a_manger']", "locations: 'salle_a_manger': a location is named twice"),
        ("locations = ['salon', 3]", "locations.3"),
        ("locations = ['!']", "use letters, digits, _ and -"),
        ("[locations.'!']", "locations: '!': use letters, digits, _ and -"),
        ("[locations.salon]\n[locations.Salon]", "locations: salon and Salon are both called 'salon'"),
        ("[locations.'le salon']\n[locations.le_salon]", "locations: 'le_salon': a location is named twice"),
        (
            "[locations.salon]\naliases = ['Küche']\n[locations.kuche]",
            "locations: salon and kuche are both called 'kuche'",
        ),
        ("[locations.salon]\nnam = 'x'", "locations.salon.nam: no such setting; did you mean 'name'?"),
        ("[intake]\ntimezone = 'Paris'", "intake.timezone: no time zone 'Paris'; write it like"),
        ("[intake]\nunknown_location = 'attic'", "intake.unknown_location: no location 'attic'; there are hold, salon"),
        ("[ingest]\nlisten = '0.0.0.0:9109'", "ingest: whoever reaches 0.0.0.0:9109 could write: set tokens_file"),
        ("[ingest]\ntls_cert_file = 'c.pem'", "ingest: set tls_cert_file and tls_key_file, or none of them"),
        (
            "[ingest]\nlisten = '127.0.0.1:6379'",
            "redis-salon-master and the ingest both have the address 127.0.0.1:6379",
        ),
        ("serve = ['kitchen']", "serve: no location 'kitchen'; there are salon"),
        ("serve = []", "serve: name at least one location"),
        ("[topology.shards.kitchen]", "topology.shards.kitchen: no such location"),
        ("[topology]\nport_offset = 50000", "sentinel-salon-1 would get the port 76379, and 65535 is the last"),
        ("[influxdb]\nport = 6380", "redis-salon-replica and influxdb both have the address 127.0.0.1:6380"),
        (
            "[topology.shards.salon]\nmaster = '127.0.0.1:6381'",
            "redis-salon-master and redis-chambre1-master both have the address 127.0.0.1:6381; "
            "give one of them another in topology.shards.chambre1",
        ),
        ("[startup.shards]\nkitchen = 'fail'", "startup.shards.kitchen: no such location"),
        (
            "[redis]\nretention = '9m'",
            "redis.retention: 9m is less than two archive intervals: readings could be gone before they are archived; "
            "set at least 10m, or a shorter archive.interval",
        ),
        ("[redis]\npassword = 'a'\npassword_file = 'b'", "redis: set password or password_file, not both"),
        ("[influxdb]\ntoken = 'a'\ntoken_file = 'b'", "influxdb: set token or token_file, not both"),
        ("[sensors", "not valid TOML"),
        ("[ingest]\n[sensors]\n[ingest]\n", "a table may stand there once: put its settings together"),
    ],
)
def test_a_mistake_is_one_line_that_says_where_and_what(config: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(config, text)
    message = str(caught.value)
    assert message.startswith(f"{config}: ")
    assert says in message
    assert "\n" not in message


def test_every_mistake_has_a_line(config: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(config, "[sensors]\nper_type = 0\n[logging]\nlevl = 'info'\n[archive]\nbatch = 'many'\n")
    assert len(str(caught.value).splitlines()) == 3


def test_what_is_no_text_or_no_file_is_said(config: Path, tmp_path: Path) -> None:
    config.write_bytes(b'locations = ["s\xe9jour"]')
    with pytest.raises(ConfigError, match="not valid TOML: 'utf-8'"):
        load(config)
    with pytest.raises(ConfigError, match="no such configuration file"):
        load(tmp_path / "none.toml")


def test_a_secret_is_in_no_message(config: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(config, "[redis]\npassword = 17042\n[influxdb]\ntoken = 17042\n")
    assert "17042" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("IOTD_TOPOLOGY__PORT_OFFST", "1", "no such setting; did you mean 'port_offset'?"),
        ("IOTD_STATE_DIRR", "/x", "no such setting; did you mean 'state_dir'?"),
        ("IOTD_CONFIGG", "/x", "no such setting"),
        ("IOTD_TOPOLOGY__PORT_OFFSET", "many", "Input should be a valid integer"),
        ("IOTD_TOPOLOGY__SHARDS__SALON__MASTER", "host:99999", "'host:99999' is not an address"),
        (
            "IOTD_TOPOLOGY__SHARDS",
            '{"salon": {"mastr": "h:1"}}',
            "salon.mastr: no such setting; did you mean 'master'?",
        ),
        ("IOTD_SENSORS", "many", "IOTD_SENSORS, or a part of it: not valid JSON"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable_and_not_the_file(
    config: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load(config)
    assert str(caught.value).startswith((f"environment: {name}: {says}", f"environment: {says}"))


def test_environment_wins_over_secrets_these_over_the_file_and_overrides_over_all(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = tmp_path / "credentials"
    secrets.mkdir()
    for name in ("ORG", "BUCKET", "USERNAME"):
        (secrets / f"IOTD_INFLUXDB__{name}").write_text("from the secret\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(secrets))
    monkeypatch.setenv("IOTD_INFLUXDB__ORG", "from the environment")
    monkeypatch.setenv("IOTD_SENSORS__PER_TYPE", "7")
    lines = "\n".join(f'{name} = "from the file"' for name in ("org", "bucket", "username", "token"))
    settings = read(config, f"[influxdb]\n{lines}\n", influxdb={"username": "from the call"})
    said = settings.influxdb
    assert said.token is not None
    assert (said.org, said.bucket, said.username, said.token.get_secret_value()) == (
        *("from the environment", "from the secret", "from the call", "from the file"),
    )
    assert settings.sensors.per_type == 7


def test_a_credential_is_a_file_named_like_the_variable_and_other_files_are_left_alone(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "IOTD_INFLUXDB__TOKEN").write_text("s3cret\n")
    (tmp_path / "iotd_redis__password").write_text("hunter2")
    (tmp_path / "postgres_password").write_bytes(b"\xff\xfe not ours")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = load(config)
    assert settings.influxdb.token is not None
    assert settings.influxdb.token.get_secret_value() == "s3cret"
    assert settings.redis.read_password() == "hunter2"
    assert "s3cret" not in repr(settings)
    (tmp_path / "IOTD_INFLUXBD__TOKEN").write_text("s3cret")
    with pytest.raises(ConfigError, match=r"IOTD_INFLUXBD__TOKEN: no such setting; did you mean 'influxdb'\?"):
        load(config)


def test_a_password_file_is_read_anew_each_time(config: Path, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("first\n")
    redis = read(config, f"[redis]\npassword_file = '{secret}'").redis
    assert redis.read_password() == "first"
    secret.write_text("second\n")
    assert redis.read_password() == "second"


def test_lists_of_names_can_be_given_with_commas_in_the_environment(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IOTD_LOCATIONS", "salon, cuisine")
    monkeypatch.setenv("IOTD_SERVE", "cuisine")
    monkeypatch.setenv("IOTD_SENSORS__TYPES", "humidity")
    settings = load(config)
    assert list(settings.locations) == ["salon", "cuisine"]
    assert settings.served == ("cuisine",)
    assert settings.sensors.types == ("humidity",)


def test_locations_are_a_list_of_names_or_a_table_each(config: Path) -> None:
    listed = read(config, "locations = ['salon', 'Salle à manger']").locations
    assert {name: its.name for name, its in listed.items()} == {"salon": "", "salle_a_manger": "Salle à manger"}
    tables = read(config, "[locations.salon]\nname = 'Grand salon'\naliases = ['living room']\n[locations.cuisine]")
    assert list(tables.locations) == ["salon", "cuisine"]
    named = read(config, "[locations.'Salle à manger']\naliases = ['dining']\n[locations.'cave']").locations
    assert {key: its.name for key, its in named.items()} == {"salle_a_manger": "Salle à manger", "cave": ""}
    assert tables.locations["salon"].aliases == ("living room",)


def test_the_configuration_is_the_named_one_else_the_variables_else_the_one_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = tmp_path / "config" / "iotd.toml"
    here.parent.mkdir()
    for path in (here, tmp_path / "a.toml", tmp_path / "b.toml"):
        path.write_text("")
    assert find_config() == Path("config/iotd.toml")
    monkeypatch.setenv("IOTD_CONFIG", str(tmp_path / "a.toml"))
    assert find_config() == tmp_path / "a.toml"
    assert find_config(tmp_path / "b.toml") == tmp_path / "b.toml"


def test_the_state_directory_is_the_setting_else_systemds_else_the_users(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert load(config).state == tmp_path / "xdg" / "iotd"
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path}/first:{tmp_path}/second")
    assert load(config).state == tmp_path / "first"
    assert read(config, f"state_dir = '{tmp_path}/set'").state == tmp_path / "set"


def test_addresses_may_be_names_and_ipv6(config: Path) -> None:
    settings = read(config, "[topology.address_map]\n'redis-salon-master:6379' = '[::1]:7000'")
    assert settings.topology.address_map["redis-salon-master:6379"] == Address("::1", 7000)


def test_retention_may_be_short_where_there_is_no_archive(config: Path) -> None:
    assert read(config, "[redis]\nretention = '10m'").redis.retention.total_seconds() == 600
    assert read(config, "[redis]\nretention = '1s'\n[archive]\nstore = 'none'").archive.store == "none"


def test_settings_made_without_a_file_are_checked_as_a_whole_too() -> None:
    with pytest.raises(ValueError, match=r"redis\.retention: 1m is less than two archive intervals"):
        Settings.model_validate({"redis": {"retention": "1m"}})
