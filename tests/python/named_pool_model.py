"""What vLLM's block pool does, in lists: written from its documentation, as an oracle for `park._park.NamedPool`.

Nothing is indexed and nothing is fast. The queue is a list of block numbers, the index a list of (hash, block) in the order in which they were
entered, and each rule is one statement:

* new blocks come from the front of the queue and lose their hashes;
* freed blocks without a hash go to the front, in the order given; those with one to the end, in the order given;
* unpinned blocks go to the end, whether they have a hash or not;
* a touched free block leaves the queue; an evicted or a reset one keeps its place;
* of several blocks with one hash, the one that got it first is found;
* a block that is cached for a longer prefix loses what it was found by.
"""


class Model:
    """A pool of `blocks` blocks, of which 0 is the null block."""

    def __init__(self, blocks):
        self.references = [0] * blocks
        self.queue = list(range(1, blocks))
        self.index = []  # (name, block)
        self.tokens = {}

    def names(self, block):
        """The names of a block, oldest first."""
        return [name for name, other in self.index if other == block]

    def forget(self, block):
        """It is found by nothing; returns what it was found by."""
        lost = self.names(block)
        self.index = [entry for entry in self.index if entry[1] != block]
        self.tokens.pop(block, None)
        return lost

    def allocate(self, count):
        """The first blocks of the queue, and the names that they lose."""
        taken, self.queue = self.queue[:count], self.queue[count:]
        for block in taken:
            self.references[block] = 1
        return taken, [name for block in taken for name in self.forget(block)]

    def touch(self, blocks):
        """One more reference to each."""
        for block in filter(None, blocks):
            if self.references[block] == 0:
                self.queue.remove(block)
            self.references[block] += 1

    def release(self, blocks):
        """One reference less to each."""
        front = []
        for block in self._drop(blocks):
            if self.names(block):
                self.queue.append(block)
            else:
                front.append(block)
        self.queue[:0] = front

    def release_last(self, blocks):
        """One reference less to each; all go to the end."""
        self.queue += self._drop(blocks)

    def _drop(self, blocks):
        freed = []
        for block in filter(None, blocks):
            self.references[block] -= 1
            if self.references[block] == 0:
                freed.append(block)
        return freed

    def name(self, block, name, tokens):
        """One more name for a block; whether it is new."""
        if name in self.names(block):
            return False
        if not self.names(block) and tokens is not None:
            self.tokens[block] = tokens
        self.index.append((name, block))
        return True

    def cache(self, blocks, hashes, mask, group, block_size, done):
        """Full blocks of a request; returns the names that were lost."""
        lost = []
        for at, (block, block_hash) in enumerate(zip(blocks, hashes)):
            if block and (mask is None or mask[at]):
                lost += self.forget(block)
                self.name(block, block_hash + group.to_bytes(4, "big"), (done + at + 1) * block_size)
        return lost

    def find(self, name):
        """The block that got this name first."""
        return next((block for other, block in self.index if other == name), None)

    def reset(self):
        """Forgets all names, unless a block is in use."""
        if any(self.references):
            return False
        self.index, self.tokens = [], {}
        return True
