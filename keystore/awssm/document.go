package awssm

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/takumi-backup/takumi-backup/keystore"
)

// Sibling is the secret of another id, over the same connection.
func (s *Secret) Sibling(id string) (*Secret, error) {
	other, err := parse(id)
	if err != nil {
		return nil, err
	}
	other.conn = s.conn
	return other, nil
}

// ReadText fetches the whole value of the current version, and the version's id, "" without
// such a secret. Its errors are those of Load.
func (s *Secret) ReadText(ctx context.Context) (text []byte, version string, err error) {
	return s.ReadVersion(ctx, stageCurrent)
}

// ReadVersion is ReadText of a version, by its id or a stage.
func (s *Secret) ReadVersion(ctx context.Context, which string) (text []byte, version string, err error) {
	err = s.within(ctx, func(ctx context.Context, c *session) error {
		h, err := s.get(ctx, c, which)
		if errors.Is(err, keystore.ErrNotFound) {
			return nil
		}
		if err == nil {
			text, version = h.value.text, h.id
		}
		return err
	})
	return text, version, err
}

// WriteText makes text the value, if version, from ReadText, is still current ("": if there
// is no such secret); otherwise nothing changes and the error's kind is
// keystore.ErrConflict. Secrets Manager checks that: the stage AWSCURRENT is taken from
// that version. After ErrUnreachable it may have been written.
func (s *Secret) WriteText(ctx context.Context, text []byte, version string) error {
	return s.within(ctx, func(ctx context.Context, c *session) error {
		if version == "" {
			_, err := c.api.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &s.id, ClientRequestToken: token(), SecretString: aws.String(string(text))})
			if errors.As(err, new(*types.ResourceExistsException)) {
				return s.changed()
			}
			if err != nil {
				return s.fault(ctx, c, "CreateSecret", err)
			}
			return nil
		}
		put := &secretsmanager.PutSecretValueInput{SecretId: &s.id, ClientRequestToken: token(), VersionStages: []string{stagePending}, SecretString: aws.String(string(text))}
		if _, err := c.api.PutSecretValue(ctx, put); err != nil {
			return s.fault(ctx, c, "PutSecretValue", err)
		}
		_, moved := c.api.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
			SecretId: &s.id, VersionStage: aws.String(stageCurrent), MoveToVersionId: put.ClientRequestToken, RemoveFromVersionId: &version,
		})
		if moved == nil {
			return nil
		}
		fault := s.fault(ctx, c, "UpdateSecretVersionStage", moved)
		// The answer of an attempt may be lost: ask for the current value.
		switch now, err := s.get(ctx, c, stageCurrent); {
		case err != nil:
			return fault
		case now.id == *put.ClientRequestToken:
			return nil
		case now.id != version:
			return s.changed()
		}
		return fault
	})
}

func (s *Secret) changed() error {
	return &keystore.Error{URI: s.String(), Kind: keystore.ErrConflict, Reason: "somebody else wrote it meanwhile; nothing was changed", Fix: "try again"}
}
