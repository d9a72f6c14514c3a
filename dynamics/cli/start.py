"""Starts JAX for a command."""

from dynamics import startup


def start_jax(x64: bool = False) -> None:
    """Set JAX up, with its cache and its CPU devices, and the precision to compute in; start it.

    Raises: ValueError, MemoryError: as `startup.start`.
    """
    startup.use_cache()
    startup.set_devices()  # a caller in Python may have started JAX: then it stays so
    import jax

    jax.config.update("jax_enable_x64", x64)
    startup.start()
