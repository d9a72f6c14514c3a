"""Random damage to the content of a file."""


def corrupted(content, chance):
    """A few bytes flipped, zeroed, drawn anew, moved, left out or doubled."""
    content = bytearray(content)
    at, other = sorted(chance.sample(range(len(content)), 2))
    length = chance.choice([1, 4, 16, 64, 512])
    match chance.randrange(7):
        case 0 | 1:
            content[at] ^= 1 << chance.randrange(8)
        case 2:
            content[at : at + length] = bytes(len(content[at : at + length]))
        case 3:
            content[at : at + length] = chance.randbytes(len(content[at : at + length]))
        case 4:
            content[at], content[other] = content[other], content[at]
        case 5:
            del content[at : at + length]
        case 6:
            content[at:at] = content[at : at + length]
    return bytes(content)
