package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/audit"
)

// syslogSocket is where the syslog of this host listens, or its journal.
const syslogSocket = "/dev/log"

// checkSyslog returns the socket that TAKUMI_AUDIT_SYSLOG asks for: a boolean,
// or the path of another one. "" is none.
func checkSyslog() (string, error) {
	value := os.Getenv("TAKUMI_AUDIT_SYSLOG")
	if value == "" || filepath.IsAbs(value) {
		return value, nil
	}
	on, err := strconv.ParseBool(value)
	if err != nil {
		return "", usagef("TAKUMI_AUDIT_SYSLOG is %q, neither true nor false nor the path of a socket", value)
	}
	if on {
		return syslogSocket, nil
	}
	return "", nil
}

// toSyslog sends a record to the socket, in the form of RFC 3164 that all of
// them take. It waits no longer than a second: package log/syslog would wait for
// a daemon that hangs.
func toSyslog(socket string, r audit.Record) error {
	conn, err := net.DialTimeout("unixgram", socket, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	const authpriv = 10 << 3
	severity := map[audit.Outcome]int{audit.Failed: 3, audit.Stopped: 4}[r.Outcome]
	if severity == 0 {
		severity = 6
	}
	_, words, _ := strings.Cut(recordLine(&r), "] [") // syslog has its own time
	_, err = fmt.Fprintf(conn, "<%d>%s takumi-backup[%d]: [%s", authpriv|severity, time.Now().Format(time.Stamp), r.PID, strings.TrimSuffix(words, "\n"))
	return err
}
