package report

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/slack-go/slack"
	"github.com/slack-go/slack/slackutilsx"
	"github.com/wneessen/go-mail"

	"github.com/takumi-backup/takumi-backup/internal/netsafe"
	"github.com/takumi-backup/takumi-backup/internal/redact"
)

// slackTo sends to an incoming webhook of Slack. What backups say of themselves
// is escaped, so that none of them can address a channel.
func slackTo(address string) func(context.Context, *message) error {
	return func(ctx context.Context, m *message) error {
		color := map[State]string{good: "good", warned: "warning", failed: "danger"}[m.Status]
		escape := slackutilsx.EscapeMessage
		return retryOnce(ctx, func(ctx context.Context) error {
			err := slack.PostWebhookCustomHTTPContext(ctx, address, client, &slack.WebhookMessage{
				Text:        escape(m.Subject),
				Attachments: []slack.Attachment{{Color: color, Text: escape(m.text()), Fallback: escape(m.Subject)}},
			})
			if answer, ok := errors.AsType[slack.StatusCodeError](err); ok {
				return status(answer.Code)
			}
			return err
		})
	}
}

func webhookTo(address string) func(context.Context, *message) error {
	return func(ctx context.Context, m *message) error {
		body, err := json.Marshal(m)
		if err != nil {
			return err
		}
		return post(ctx, address, "application/json", string(body))
	}
}

// maxLog is how much of a log a ping has: healthchecks.io keeps no more.
const maxLog = 10_000

// pingTo pings as healthchecks.io and others take it: the address itself for
// success, and below it /start and /fail.
func pingTo(address string) func(ctx context.Context, event, log string) error {
	return func(ctx context.Context, event, log string) error {
		u, err := url.Parse(address)
		if err != nil {
			return errPermanent // New has looked
		}
		if event != "" {
			u = u.JoinPath(event)
		}
		if event != "fail" {
			log = ""
		}
		return post(ctx, u.String(), "text/plain; charset=utf-8", tail(log))
	}
}

// tail is the end of a log, redacted before it is cut: half a key is not seen to
// be one.
func tail(log string) string {
	log = strings.ToValidUTF8(redact.Keys(log), "\uFFFD")
	if len(log) <= maxLog {
		return log
	}
	log = log[len(log)-maxLog:]
	for !utf8.RuneStart(log[0]) {
		log = log[1:]
	}
	return log
}

type mailer struct {
	host    string
	options []mail.Option
	from    string
	to      []string
}

// mail reads the settings of mail, and returns nil when they are not right.
func (e *environment) mail() func(context.Context, *message) error {
	before := e.err
	m := mailer{host: e.get("ALERT_SMTP_HOST"), from: e.get("ALERT_EMAIL_FROM")}
	for to := range strings.SplitSeq(e.get("ALERT_EMAIL_TO"), ",") {
		m.to = append(m.to, strings.TrimSpace(to))
	}
	if _, err := m.envelope(); err != nil {
		e.fail("ALERT_EMAIL_TO or ALERT_EMAIL_FROM %w: %w", ErrSetting, err)
	}
	if m.host == "" {
		m.host = "localhost"
	}
	port, policy := 587, mail.TLSMandatory
	if isHere(m.host) {
		port, policy = 25, mail.NoTLS
	}
	if text := e.get("ALERT_SMTP_PORT"); text != "" {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 {
			e.fail("ALERT_SMTP_PORT %w: it is not a port", ErrSetting)
		}
		port = int(n)
	}
	user, password := e.get("ALERT_SMTP_USER"), e.secret("ALERT_SMTP_PASSWORD")
	switch security := e.get("ALERT_SMTP_TLS"); {
	case security == "" && port == 465, security == "tls":
		m.options = append(m.options, mail.WithSSL())
	case security == "":
	case security == "starttls":
		policy = mail.TLSMandatory
	case security != "off":
		e.fail("ALERT_SMTP_TLS %w: it is starttls, tls or off", ErrSetting)
	case isHere(m.host):
		policy = mail.NoTLS
	case e.production:
		e.fail("ALERT_SMTP_TLS %w: in production, mail goes to another machine with TLS", ErrSetting)
	case password != "":
		e.fail("ALERT_SMTP_TLS %w: without TLS, everybody on the way would see the password", ErrSetting)
	default:
		policy = mail.NoTLS
	}
	m.options = append(m.options, mail.WithPort(port), mail.WithTLSPolicy(policy), mail.WithTimeout(patience),
		mail.WithTLSConfig(&tls.Config{ServerName: m.host, MinVersion: tls.VersionTLS12, RootCAs: e.roots}))
	if user != "" {
		m.options = append(m.options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(user), mail.WithPassword(password))
	}
	if e.err != before {
		return nil
	}
	return m.send
}

func (m mailer) envelope() (*mail.Msg, error) {
	msg := mail.NewMsg()
	if err := msg.From(m.from); err != nil {
		return nil, err
	}
	return msg, msg.To(m.to...)
}

func (m mailer) send(ctx context.Context, told *message) error {
	msg, err := m.envelope()
	if err != nil {
		return err
	}
	msg.Subject(told.Subject)
	msg.SetDate()
	msg.SetMessageID()
	msg.SetBodyString(mail.TypeTextPlain, told.text())
	return retryOnce(ctx, func(ctx context.Context) error {
		client, err := mail.NewClient(m.host, m.options...)
		if err != nil {
			return fmt.Errorf("%w: %w", errPermanent, err)
		}
		return client.DialAndSendWithContext(ctx, msg)
	})
}

func isHere(host string) bool {
	return netsafe.Check(&url.URL{Scheme: "smtp", Host: net.JoinHostPort(host, "25")}) == nil
}
