//! What other firewalls on the host would do to our traffic.
