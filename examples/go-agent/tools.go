package main

import (
	"encoding/json"
	"fmt"
)

// toolsOffered is what the model is told of the tools.
func toolsOffered() []map[string]any {
	text := map[string]any{"type": "string"}
	schema := func(required string) map[string]any {
		return map[string]any{
			"type": "object", "properties": map[string]any{required: text}, "required": []string{required},
		}
	}
	return []map[string]any{
		{"name": "find_invoice", "description": "An invoice by its number", "input_schema": schema("invoice_id")},
		{"name": "search_contract", "description": "What the contract says", "input_schema": schema("topic")},
	}
}

var invoices = map[string]string{"A-17": `{"invoice":"A-17","eur":650}`}

func runTool(name string, args json.RawMessage) (string, error) {
	var in struct {
		InvoiceID string `json:"invoice_id"`
		Topic     string `json:"topic"`
	}
	if err := json.Unmarshal(args, &in); err != nil {
		return "", err
	}
	switch name {
	case "find_invoice":
		if invoice, ok := invoices[in.InvoiceID]; ok {
			return invoice, nil
		}
		return "", fmt.Errorf("no invoice %q", in.InvoiceID)
	case "search_contract":
		return `{"clause":12,"text":"Credit is granted up to 500 euros."}`, nil
	default:
		return "", fmt.Errorf("no tool %q", name)
	}
}
