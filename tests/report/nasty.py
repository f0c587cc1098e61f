"""Text that would do harm if it were read as markup."""

NASTY = "<script>window.hacked = 1</script><img src=http://example.invalid/x onerror=alert(1)>&\"'"
