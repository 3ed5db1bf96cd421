package status

import (
	"testing"
	"time"
)

// TestParseTimers: as systemctl list-timers --output=json of systemd 252 prints them, of
// which one is off.
func TestParseTimers(t *testing.T) {
	got, err := parseTimers([]byte(`[{"next":1764295200000000,"left":1764295200000000,"last":0,"passed":0,"unit":"takumi-backup.timer","activates":"takumi-backup.service"},
{"next":0,"left":0,"last":null,"passed":null,"unit":"takumi-backup-drill.timer","activates":"takumi-backup-drill.service"}]`))
	if err != nil || len(got) != 2 || got[0].Next != time.Unix(1764295200, 0).UTC() || !got[1].Next.IsZero() || got[1].Unit != "takumi-backup-drill.timer" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := parseTimers([]byte("no")); err == nil {
		t.Error("what is no JSON was taken")
	}
}

// TestCounterpart: a copy has the same place below its store.
func TestCounterpart(t *testing.T) {
	for _, tc := range [][4]string{
		{"/b", "/c", "/b/database/x.enc", "/c/database/x.enc"},
		{"/b", "s3://bucket/p?profile=a", "/b/database/x.enc", "s3://bucket/p/database/x.enc?profile=a"},
		{"s3://a/b", "/c", "s3://a/b/uploads/x.enc", "/c/uploads/x.enc"},
		{"/b/database", "/c", "/elsewhere/x.enc", "/c/x.enc"},
	} {
		if got := Counterpart(tc[0], tc[1], tc[2]); got != tc[3] {
			t.Errorf("%q: %q", tc, got)
		}
	}
}
