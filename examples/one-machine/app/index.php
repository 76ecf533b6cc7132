<?php
// An ordinary PHP session: the command line in one-machine.toml says where sessions are kept.
session_start();
$_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
header('Content-Type: text/plain');
printf("instance %s, session %s, visit %d\n", getenv('TANDEM_INSTANCE'), session_id(), $_SESSION['visits']);
