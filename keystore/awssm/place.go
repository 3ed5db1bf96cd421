package awssm

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/takumi-backup/takumi-backup/keystore"
)

var _ keystore.Placed = (*Secret)(nil)

// Place implements keystore.Placed by GetSecretValue, which needs no further permission:
// the ARN (partition, region and account) without the six random characters that AWS
// appends, and any JSON field behind a #. A secret that was deleted and made again has the
// same place. Errors are as Load's.
func (s *Secret) Place(ctx context.Context) (string, error) {
	var place string
	err := s.within(ctx, func(ctx context.Context, c *session) error {
		out, err := c.api.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &s.id, VersionStage: aws.String(stageCurrent)})
		if err != nil {
			return s.fault(ctx, c, "GetSecretValue", err)
		}
		clear(out.SecretBinary)
		arn, name := aws.ToString(out.ARN), aws.ToString(out.Name)
		if arnRegion(arn) == "" || !secretID.MatchString(arn) || !secretID.MatchString(name) {
			return s.refuse("the answer does not say which secret it is of", "check AWS_ENDPOINT_URL: Secrets Manager returns the secret's name and ARN")
		}
		place = strings.Join(append(strings.SplitN(arn, ":", 7)[:6], name), ":")
		if s.field != "" {
			place += "#" + s.field
		}
		return nil
	})
	return place, err
}
