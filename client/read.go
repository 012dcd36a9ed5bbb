package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
)

const logs = "/api/v1/logs"

// get asks a route and reads its answer.
func get[T any](ctx context.Context, c *Client, path string, q *query) (*T, error) {
	return ask[T](ctx, c, path, q, nil)
}

func ask[T any](ctx context.Context, c *Client, path string, q *query, header http.Header) (*T, error) {
	if q.err != nil {
		return nil, q.err
	}
	rq := request{method: http.MethodGet, path: logs + path, header: header, retries: max(c.cfg.MaxRetries, 0)}
	if len(q.values) > 0 {
		rq.path += "?" + q.values.Encode()
	}
	var v *T
	rq.accept = func(_ int, _ http.Header, body []byte) (err error) {
		v, err = parseAnswer[T](body)
		return err
	}
	if err := c.do(ctx, rq); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return v, nil
}

// ofRun asks a route about one run.
func ofRun[T any](ctx context.Context, c *Client, topic, run, depth string, q *query) (*T, error) {
	// A path of dots would be another route's.
	if strings.Trim(run, ".") == "" {
		return nil, parameterError("run_id", "names no run")
	}
	return get[T](ctx, c, topic+"/"+url.PathEscape(run)+depth, q)
}

func parameterError(field, reason string) error {
	return &evidence.FieldError{Field: field, Reason: reason, Err: evidence.ErrInvalid}
}

// parseAnswer reads an answer of the facade. What is not whole is an error.
func parseAnswer[T any](body []byte) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(body, v); err != nil {
		return nil, err
	}
	if err := whole(reflect.ValueOf(v).Elem(), "answer"); err != nil {
		return nil, err
	}
	return v, nil
}

var (
	metadataType = reflect.TypeFor[evidence.Metadata]()
	contentType  = reflect.TypeFor[answer.Content]()
)

// whole checks what the contract promises of every answer: metadata on it and
// on each of its items (INV-LOG-META-001), and lists that are not null.
func whole(v reflect.Value, name string) error {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return whole(v.Elem(), name)
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := whole(v.Index(i), fmt.Sprintf("%s[%d]", name, i)); err != nil {
				return err
			}
		}
	case reflect.Struct:
		return wholeStruct(v, name)
	}
	return nil
}

func wholeStruct(v reflect.Value, name string) error {
	switch v.Type() {
	case contentType:
		return nil
	case metadataType:
		m, _ := v.Interface().(evidence.Metadata)
		return wholeMetadata(&m, name)
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		field := name
		if !f.Anonymous {
			field += "." + tag
		}
		list := f.Type.Kind() == reflect.Slice || f.Type.Kind() == reflect.Map
		if list && v.Field(i).IsNil() && options != "omitempty" {
			return fmt.Errorf("%s is missing or null", field)
		}
		if err := whole(v.Field(i), field); err != nil {
			return err
		}
	}
	return nil
}

func wholeMetadata(m *evidence.Metadata, name string) error {
	switch {
	case m.TenantID == "" || m.SourceDomain == "" || m.Origin == "" || m.RecordedAt == 0:
		return fmt.Errorf("%s is missing or not whole", name)
	case m.Timezone != "UTC" || !m.Immutable:
		return fmt.Errorf("%s is not of immutable evidence in UTC", name)
	case m.PolicyIDs == nil || m.IncidentIDs == nil:
		return fmt.Errorf("%s has ids that are missing or null", name)
	}
	return nil
}

// pages follows next_cursor. ask returns a page, next its cursor.
func pages[P any](p Paging, ask func(Paging) (*P, error), next func(*P) (more bool, cursor *string)) iter.Seq2[*P, error] {
	return func(yield func(*P, error) bool) {
		for {
			page, err := ask(p)
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(page, nil) {
				return
			}
			more, cursor := next(page)
			if !more {
				return
			}
			if cursor == nil || *cursor == "" || *cursor == p.Cursor {
				yield(nil, fmt.Errorf("%w: broken answer: %w", evidence.ErrUnavailable, errors.New("there is more, and no cursor to it")))
				return
			}
			p.Cursor = *cursor
		}
	}
}

// each goes through the entries of pages.
func each[P, E any](pages iter.Seq2[*P, error], entries func(*P) []E) iter.Seq2[*E, error] {
	return func(yield func(*E, error) bool) {
		for page, err := range pages {
			if err != nil {
				yield(nil, err)
				return
			}
			list := entries(page)
			for i := range list {
				if !yield(&list[i], nil) {
					return
				}
			}
		}
	}
}
