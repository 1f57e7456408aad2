"""Labels of nodes, as Ray's command line reads them, and their checks. The rules are in `park.labels`."""

from park.labels import RESERVED, value_wrong
from park.labels import fallback_wrong as validate_fallback_strategy
from park.labels import key_wrong as validate_label_key
from park.labels import selector_wrong as validate_label_selector
from park.labels import test_wrong as validate_label_selector_value

__all__ = [
    "parse_node_labels_from_yaml_file",
    "parse_node_labels_json",
    "parse_node_labels_string",
    "validate_fallback_strategy",
    "validate_label_key",
    "validate_label_selector",
    "validate_label_selector_value",
    "validate_label_value",
    "validate_node_label_syntax",
    "validate_node_labels",
]


def parse_node_labels_string(labels_str):
    """Labels of `key=value,key=value`."""
    labels = {}
    for pair in labels_str.split(",") if labels_str else ():
        parts = pair.split("=")
        if len(parts) != 2:
            raise ValueError(f"Label string is not a key-value pair: {pair!r}")
        labels[parts[0].strip()] = parts[1].strip()
    return labels


def parse_node_labels_json(labels_json):
    """Labels of a JSON object of strings, none of which may be the runtime's."""
    import json

    labels = _strings(json.loads(labels_json), "the text after deserialization", "the ")
    validate_node_labels(labels)
    return labels


def parse_node_labels_from_yaml_file(path):
    """Labels of a YAML file that is a mapping of strings."""
    import yaml

    with open(path) as file:
        return _strings(yaml.safe_load(file), f"the content of {path}")


def _strings(labels, what, article=""):
    if not isinstance(labels, dict):
        raise ValueError(f"{what} is not a key-value pair map: {labels!r}")
    for key, value in labels.items():
        if not isinstance(key, str):
            raise ValueError("The key is not string type.")
        if not isinstance(value, str):
            raise ValueError(f'The value of {article}"{key}" is not string type')
    return labels


def validate_label_value(value):
    """Raise ValueError for what is no value of a label."""
    if text := value_wrong(value):
        raise ValueError(text)


def validate_node_label_syntax(labels):
    """Raise ValueError for labels that are none."""
    for key, value in labels.items():
        if text := validate_label_key(key) or value_wrong(value):
            raise ValueError(text)


def validate_node_labels(labels):
    """Raise ValueError for labels that a user may not give to a node."""
    validate_node_label_syntax(labels or {})
    for key in labels or {}:
        if key.startswith(RESERVED):
            raise ValueError(
                f"Custom label keys `{key}` cannot start with the prefix `{RESERVED}`. This is reserved for Ray defined labels."
            )
