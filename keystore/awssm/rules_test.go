package awssm_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var notFound = refused("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")

func (s *server) act(region, action string, body []byte) (any, *failure) {
	var in request
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		s.t.Errorf("%s: %v", action, err)
		return nil, refused("SerializationException", "")
	}
	if action == "CreateSecret" {
		return s.create(region, in)
	}
	name := in.SecretId
	if parts := strings.SplitN(name, ":", 7); len(parts) == 7 {
		name = parts[6][:len(parts[6])-7]
	}
	sec := s.secrets[region+" "+name]
	if sec == nil {
		return nil, notFound
	}
	if sec.deleted {
		return nil, refused("InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion.")
	}
	switch action {
	case "GetSecretValue":
		return sec.get(in)
	case "PutSecretValue":
		return s.put(sec, in)
	case "UpdateSecretVersionStage":
		return sec.move(in)
	case "ListSecretVersionIds":
		return s.list(sec, in)
	case "DeleteSecret":
		sec.deleted = true
		return map[string]any{"ARN": sec.arn, "Name": sec.name, "DeletionDate": seconds(s.clock)}, nil
	}
	s.t.Errorf("unexpected action %s", action)
	return nil, refused("InvalidAction", "")
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func (s *server) create(region string, in request) (any, *failure) {
	if !regexp.MustCompile(`^[A-Za-z0-9/_+=.@-]{1,512}$`).MatchString(in.Name) {
		return nil, refused("ValidationException", "Invalid name.")
	}
	sec := s.secrets[region+" "+in.Name]
	if sec != nil {
		if v := sec.byID(in.ClientRequestToken); v != nil && same(v, in) {
			return map[string]any{"ARN": sec.arn, "Name": sec.name, "VersionId": v.id}, nil
		}
		return nil, refused("ResourceExistsException", "The operation failed because the secret "+in.Name+" already exists.")
	}
	sec = &secret{name: in.Name, arn: "arn:aws:secretsmanager:" + region + ":123456789012:secret:" + in.Name + "-AbCdEf"}
	s.secrets[region+" "+in.Name] = sec
	if in.SecretString == nil && in.SecretBinary == nil {
		return map[string]any{"ARN": sec.arn, "Name": sec.name}, nil
	}
	return s.put(sec, in)
}

func same(v *version, in request) bool {
	return bytes.Equal(v.binary, in.SecretBinary) && (v.text == nil) == (in.SecretString == nil) && (v.text == nil || *v.text == *in.SecretString)
}

func (sec *secret) byID(id string) *version {
	i := slices.IndexFunc(sec.versions, func(v *version) bool { return v.id == id })
	if i < 0 {
		return nil
	}
	return sec.versions[i]
}

func (sec *secret) holder(stage string) *version {
	i := slices.IndexFunc(sec.versions, func(v *version) bool { return slices.Contains(v.stages, stage) })
	if i < 0 {
		return nil
	}
	return sec.versions[i]
}

// attach moves a stage to v, which may be nil, and AWSPREVIOUS with AWSCURRENT.
func (sec *secret) attach(stage string, v *version) {
	old := sec.holder(stage)
	if old == v {
		return
	}
	if old != nil {
		old.stages = slices.DeleteFunc(old.stages, func(s string) bool { return s == stage })
	}
	if v != nil {
		v.stages = append(v.stages, stage)
	}
	if stage == "AWSCURRENT" && old != nil {
		sec.attach("AWSPREVIOUS", old)
	}
}

// full reports whether n more stages would be too many.
func (sec *secret) full(n int) bool {
	for _, v := range sec.versions {
		n += len(v.stages)
	}
	return n > 20
}

var limitExceeded = refused("LimitExceededException", "Too many staging labels.")

func (s *server) put(sec *secret, in request) (any, *failure) {
	size := len(in.SecretBinary)
	if in.SecretString != nil {
		size = len(*in.SecretString)
	}
	switch {
	case len(in.ClientRequestToken) < 32 || len(in.ClientRequestToken) > 64:
		return nil, refused("InvalidParameterException", "ClientRequestToken must be 32-64 characters long.")
	case (in.SecretString == nil) == (in.SecretBinary == nil):
		return nil, refused("InvalidRequestException", "You must provide either SecretString or SecretBinary.")
	case size > 65536:
		return nil, refused("ValidationException", "Member must have length less than or equal to 65536")
	}
	v := sec.byID(in.ClientRequestToken)
	if v != nil && !same(v, in) {
		return nil, refused("ResourceExistsException", "You can't use ClientRequestToken because that value is already in use.")
	}
	if v == nil {
		stages := in.VersionStages
		if len(stages) == 0 || len(sec.versions) == 0 {
			stages = append(stages, "AWSCURRENT")
		}
		fresh := slices.DeleteFunc(slices.Clone(stages), func(stage string) bool { return sec.holder(stage) != nil })
		if sec.full(len(fresh)) {
			return nil, limitExceeded
		}
		s.clock = s.clock.Add(1500 * time.Millisecond)
		v = &version{id: in.ClientRequestToken, text: in.SecretString, binary: in.SecretBinary, created: s.clock}
		sec.versions = append(sec.versions, v)
		for _, stage := range stages {
			sec.attach(stage, v)
		}
	}
	return map[string]any{"ARN": sec.arn, "Name": sec.name, "VersionId": v.id, "VersionStages": v.stages}, nil
}

func (sec *secret) get(in request) (any, *failure) {
	if in.VersionId == "" && in.VersionStage == "" {
		in.VersionStage = "AWSCURRENT"
	}
	v := sec.byID(in.VersionId)
	if in.VersionId == "" {
		v = sec.holder(in.VersionStage)
	}
	if v == nil {
		return nil, refused("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: "+in.VersionStage)
	}
	answer := map[string]any{"ARN": sec.arn, "Name": sec.name, "VersionId": v.id, "VersionStages": v.stages, "CreatedDate": seconds(v.created)}
	if v.text != nil {
		answer["SecretString"] = *v.text
	} else {
		answer["SecretBinary"] = v.binary
	}
	return answer, nil
}

func (sec *secret) move(in request) (any, *failure) {
	holder, to := sec.holder(in.VersionStage), sec.byID(in.MoveToVersionId)
	switch {
	case in.MoveToVersionId != "" && to == nil:
		return nil, refused("ResourceNotFoundException", "Secrets Manager can't find the specified secret version.")
	case holder != nil && holder.id != in.RemoveFromVersionId:
		return nil, refused("InvalidParameterException", fmt.Sprintf("Staging label %s is currently attached to version %s, so you must explicitly reference that version in RemoveFromVersionId.", in.VersionStage, holder.id))
	case holder == nil && in.RemoveFromVersionId != "":
		return nil, refused("InvalidParameterException", "The staging label is not attached to that version.")
	case holder == nil && sec.full(1):
		return nil, limitExceeded
	}
	sec.attach(in.VersionStage, to)
	return map[string]any{"ARN": sec.arn, "Name": sec.name}, nil
}

func (s *server) list(sec *secret, in request) (any, *failure) {
	from := 0
	if in.NextToken != "" {
		var err error
		if from, err = strconv.Atoi(in.NextToken); err != nil {
			return nil, refused("InvalidNextTokenException", "")
		}
	}
	labelled := slices.DeleteFunc(slices.Clone(sec.versions), func(v *version) bool { return len(v.stages) == 0 })
	to := min(from+min(s.page, in.MaxResults), len(labelled))
	answer := map[string]any{"ARN": sec.arn, "Name": sec.name}
	var versions []any
	for _, v := range labelled[from:to] {
		versions = append(versions, map[string]any{"VersionId": v.id, "VersionStages": v.stages, "CreatedDate": seconds(v.created)})
	}
	answer["Versions"] = versions
	if to < len(labelled) {
		answer["NextToken"] = strconv.Itoa(to)
	}
	return answer, nil
}
