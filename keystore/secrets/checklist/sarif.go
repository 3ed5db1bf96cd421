package checklist

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// WriteText writes findings for people, one a line.
func WriteText(w io.Writer, found []Finding) error {
	for _, f := range found {
		hint := ""
		if f.Hint != "" {
			hint = "; " + f.Hint
		}
		if _, err := fmt.Fprintf(w, "%s: %s: %s [%s]%s\n", f.Place(), f.Level, f.Message, f.Rule, hint); err != nil {
			return err
		}
	}
	return nil
}

type object = map[string]any

// WriteSARIF writes findings as code scanning takes them (SARIF 2.1.0, OASIS).
func WriteSARIF(w io.Writer, found []Finding, version string) error {
	var names []string
	for name := range Rules {
		names = append(names, name)
	}
	slices.Sort(names)
	rules := []object{}
	for _, name := range names {
		r := Rules[name]
		rules = append(rules, object{"id": name, "shortDescription": object{"text": r.Short}, "help": object{"text": r.Hint}, "defaultConfiguration": object{"level": r.Level}})
	}
	results := []object{}
	for _, f := range found {
		result := object{
			"ruleId": f.Rule, "level": f.Level, "message": object{"text": f.Message},
			"partialFingerprints": object{"takumi/v1": f.Fingerprint},
		}
		if i := slices.Index(names, f.Rule); i >= 0 {
			result["ruleIndex"] = i
		}
		if f.Path != "" {
			physical := object{"artifactLocation": object{"uri": f.Path, "uriBaseId": "%SRCROOT%"}}
			if f.Line > 0 {
				physical["region"] = object{"startLine": f.Line}
			}
			result["locations"] = []object{{"physicalLocation": physical}}
		}
		results = append(results, result)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(object{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
		"runs": []object{{
			"tool":    object{"driver": object{"name": "takumi-secrets", "version": version, "rules": rules}},
			"results": results,
		}},
	})
}
