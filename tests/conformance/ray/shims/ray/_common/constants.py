"""The resource by which Ray finds its head node."""

HEAD_NODE_RESOURCE_NAME = "node:__internal_head__"
